"""Exports to GGUF: what is written, how large it is, that Camelid runs it, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from camelid_core.artefacts import Manifest, verify_directory, write_manifest
from camelid_core.config import validate
from camelid_core.errors import CamelidError, ConfigError, DiskFull, ModelError
from camelid_core.mixing import mix
from camelid_core.models.gguf import gguf_metadata
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.template_choice import template_of
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.tasks import Interrupted
from camelid_core.testing import write_jsonl
from camelid_core.tokenization.encoder import Encoder
from camelid_gguf.calibration import calibration_rows
from camelid_gguf.importances import ImportanceMatrix
from camelid_gguf.mixtures import MIXTURES
from camelid_serve.config import EngineConfig
from camelid_serve.engine import Request, Sampling
from camelid_serve.loaded_models import load_model
from camelid_serve.testing import collect
from camelid_train.config import DataSection
from camelid_train.export import export_plan, task
from camelid_train.export.calibration_data import calibration_data
from camelid_train.export.config import ExportConfig
from camelid_train.export.exporter import exporters
from camelid_train.saving import disk_space
from camelid_train.testing import assert_exporter_contract
from gguf import GGUFReader, GGUFWriter
from safetensors.torch import load_file, save_file

IDS = [5, 40, 77, 130, 201, 260, 300, 341]
WIDE = {"hidden_size": 256, "intermediate_size": 512}


def config_of(source, **settings) -> ExportConfig:
    return validate(ExportConfig, {"source": str(source), "to": {"type": "gguf", **settings}}, "the test")


def exported(run, source, **settings):
    """The file, and the estimate that was made of it."""
    config = config_of(source, **settings)
    estimate = export_plan.check(config, export_plan.export_source(config, load_host()), run.directory)
    task.export(config, run)
    files = [path for path in sorted(run.output.glob("*.gguf")) if not path.name.endswith("imatrix.gguf")]
    return files[0], estimate


def weights(file) -> dict[str, np.ndarray]:
    return {tensor.name: np.array(tensor.data) for tensor in GGUFReader(file).tensors}


def test_both_exporters_keep_the_contract_of_all_exporters(model, tmp_path):
    for name, folder in (("gguf", "file"), ("transformers", "back")):
        source = model() if name == "gguf" else next((tmp_path / "file").rglob("*.gguf"))
        assert_exporter_contract(exporters()[name], source, tmp_path / folder)


def test_a_model_is_run_by_camelid_and_prompted_as_before(attempt, model, llamacpp_logits, transformers_logits):
    run = attempt()
    file, _ = exported(run, model(), quantization="f16")
    manifest = verify_directory(run.output).manifest
    assert (manifest.kind, manifest.parameters["export"]["quantization"]) == ("gguf", "f16")
    resolved, before = resolve_model(str(run.output), load_host()), resolve_model(str(model()), load_host())
    assert (resolved.base, resolved.template) == (file, before.template)
    assert file.name == "tiny-llama-f16.gguf"
    ours, theirs = load_tokenizer(resolved), load_tokenizer(before)
    assert ours("Add 2 and 3.")["input_ids"] == theirs("Add 2 and 3.")["input_ids"]
    assert gguf_metadata(file)["tokenizer.chat_template"] == manifest.template.jinja
    assert float((llamacpp_logits(file, IDS) - transformers_logits(model(), IDS)).abs().max()) < 1e-2
    assert not list(run.output.glob(".*"))


@pytest.mark.parametrize("quantization", [name for name in MIXTURES if name != "q2_k_s"])
def test_every_mixture_is_estimated_to_a_few_per_mille_and_runs(attempt, model, quantization, llamacpp_logits):
    file, estimate = exported(attempt(), model(**WIDE), quantization=quantization)
    assert file.stat().st_size == pytest.approx(estimate.size, rel=0.005)
    assert bool(torch.isfinite(llamacpp_logits(file, IDS)).all())


def test_fewer_bits_are_farther_from_the_model(attempt, model, llamacpp_logits, transformers_logits):
    expected = transformers_logits(model(**WIDE), IDS)
    off = {}
    for quantization in ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"):
        file, _ = exported(attempt(), model(**WIDE), quantization=quantization)
        off[quantization] = float((llamacpp_logits(file, IDS) - expected).square().mean().sqrt())
    assert list(off.values()) == sorted(off.values())


def test_a_model_in_parts_is_the_same_model(attempt, model, llamacpp_logits):
    whole, _ = exported(attempt(), model(**WIDE), quantization="q8_0")
    run = attempt()
    first, _ = exported(run, model(**WIDE), quantization="q8_0", split="500KB")
    parts = sorted(run.output.glob("*.gguf"))
    assert [path.name for path in parts] == [
        f"tiny-llama-256-512-q8_0-{n:05}-of-{len(parts):05}.gguf" for n in range(1, len(parts) + 1)
    ]
    assert len(parts) > 2
    assert resolve_model(str(run.output), load_host()).base == first
    assert bool((llamacpp_logits(first, IDS) == llamacpp_logits(whole, IDS)).all())


def test_rows_that_divide_into_no_blocks_are_said(attempt, model):
    run = attempt()
    exported(run, model(), quantization="q4_k_m")
    said = " ".join(event["text"] for event in run.events("log"))
    assert "rows that do not divide into blocks of the format Q4_K; they are stored as Q5_0, Q8_0" in said


@pytest.fixture
def rows(tmp_path):
    answers = [{"instruction": f"Add {n} and {n}.", "output": f"The answer is {2 * n}."} for n in range(20)]
    return write_jsonl(tmp_path / "rows.jsonl", answers)


def test_an_importance_matrix_is_computed_kept_and_read_again(attempt, model, rows):
    run = attempt()
    settings = {"quantization": "q4_k_m", "calibration": [str(rows)], "calibration_rows": 16}
    file, _ = exported(run, model(**WIDE), **settings)
    kept = next(run.output.glob("*imatrix.gguf"))
    about = verify_directory(run.output).manifest.parameters["export"]["calibration_data"]
    assert (about["rows"], about["sources"], len(about["sha256"])) == (16, [rows.name], 64)
    assert len(about["hashes"]) == 16
    assert resolve_model(str(run.output), load_host()).base == file
    matrix = weights(kept)
    names = {name.removesuffix(".counts") for name in matrix if name.endswith(".counts")}
    assert len(names) == 3 * 7
    assert "token_embd.weight" not in names
    assert {float(matrix[f"{name}.counts"].squeeze()) for name in names} == {float(about["tokens"])}
    again, _ = exported(attempt(), model(**WIDE), quantization="q4_k_m", imatrix=str(kept))
    plain, _ = exported(attempt(), model(**WIDE), quantization="q4_k_m")
    first, second, third = weights(file), weights(again), weights(plain)
    assert all((first[name] == second[name]).all() for name in first)
    assert sum(bool((first[name] != third[name]).any()) for name in names) == len(names)


def test_importances_are_the_mean_squares_of_what_a_layer_is_given(model):
    from camelid_gguf import importances
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(model(), dtype=torch.float32).eval()
    with torch.inference_mode():
        given = plain(torch.tensor([IDS]), output_hidden_states=True).hidden_states[0][0]
    given = plain.model.layers[0].input_layernorm(given).detach()
    targets = {"model.layers.0.self_attn.q_proj": "blk.0.attn_q.weight"}
    found = importances.computed(plain, targets, [IDS], ["x"]).importances["blk.0.attn_q.weight"]
    assert torch.allclose(found, given.square().mean(0), rtol=1e-5)


def test_the_matrix_makes_the_weighted_error_smaller(attempt, model, rows):
    """Errors of columns that matter more count more: so they are smaller than without."""
    from gguf import GGMLQuantizationType, quants

    run = attempt()
    weighted, _ = exported(run, model(**WIDE), quantization="q4_0", calibration=[str(rows)], calibration_rows=8)
    assert gguf_metadata(weighted)["quantize.imatrix.dataset"] == rows.name  # and no directory of this machine
    plain, _ = exported(attempt(), model(**WIDE), quantization="q4_0")
    matrix = weights(next(run.output.glob("*imatrix.gguf")))
    name = "blk.2.ffn_up.weight"
    original = load_file(model(**WIDE) / "model.safetensors")["model.layers.2.mlp.up_proj.weight"].numpy()
    importance = matrix[f"{name}.in_sum2"].reshape(-1)
    read = [quants.dequantize(weights(file)[name], GGMLQuantizationType.Q4_0) for file in (weighted, plain)]
    errors = [float(((values - original) ** 2 * importance).sum()) for values in read]
    assert errors[0] < 0.95 * errors[1]


def test_calibration_that_is_too_short_or_unknown_is_refused(attempt, model, rows):
    for settings, words in (
        ({"calibration": [str(rows)], "calibration_rows": 50}, "give 20 calibration rows, and 50 were asked for"),
        ({"calibration": "own"}, "was not trained here, so it has no training data"),
    ):
        run = attempt()
        with pytest.raises(CamelidError, match=words):
            exported(run, model(), **settings)
        assert not run.output.exists()
    with pytest.raises(ConfigError, match="not both"):
        config_of(model(), calibration=[str(rows)], imatrix="x.gguf")


def test_a_matrix_of_another_model_or_kind_is_refused(attempt, model, rows, tmp_path):
    run = attempt()
    file, _ = exported(run, model(**WIDE), quantization="q8_0", calibration=[str(rows)], calibration_rows=4)
    kept = next(run.output.glob("*imatrix.gguf"))
    foreign = tmp_path / "foreign-imatrix.gguf"
    name = "blk.0.ssm_in.weight"
    ImportanceMatrix({name: torch.ones(64)}, {name: 1}, [], 1).write(foreign, "mamba", 8)
    (tmp_path / "old.dat").write_bytes(b"\1\0\0\0" * 20)
    for path, source, words in (
        (kept, model(), "has 256 columns for 'blk.0.attn_k.weight', and the model 64"),
        (foreign, model(), "another model's importance matrix"),
        (file, model(), "holds no importance matrix"),
        (tmp_path / "old.dat", model(), "is no GGUF file"),
        (tmp_path / "none.gguf", model(), "cannot be read"),
    ):
        with pytest.raises(ModelError, match=words):
            exported(attempt(), source, imatrix=str(path))
    with pytest.raises(ModelError, match="garbage without an importance matrix"):
        exported(attempt(), model(), quantization="q2_k_s")


def test_numbers_that_cannot_be_stored_are_named(attempt, model, tmp_path):
    name = "model.layers.1.mlp.up_proj.weight"
    for value, words in ((float("nan"), "not finite"), (1e6, "up to 1,000,000, and float16 ends at 65,504")):
        directory = shutil.copytree(model(), tmp_path / f"broken-{value}")
        tensors = load_file(directory / "model.safetensors")
        tensors[name][3, 5] = value
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})
        run = attempt()
        with pytest.raises(ModelError, match=f"blk.1.ffn_up.weight.*{words}"):
            exported(run, directory, quantization="f16")
        assert not run.output.exists()


def test_a_model_that_llamacpp_does_not_have_is_refused_before_the_start(attempt, model, tmp_path):
    directory = shutil.copytree(model(), tmp_path / "other")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    with pytest.raises(ModelError, match=r"cannot be exported to 'gguf': it has hidden_act='gelu'"):
        exported(attempt(), directory)


def test_a_stop_leaves_nothing(attempt, model):
    run = attempt()
    run.stop_at = (1, "save")
    with pytest.raises(Interrupted):
        exported(run, model())
    assert not run.output.exists()


def test_a_file_is_not_exported_again(attempt, model):
    run = attempt()
    exported(run, model())
    with pytest.raises(CamelidError, match="GGUF file"):
        task.export(config_of(run.output), attempt())


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"])
def test_a_file_comes_back_as_a_plain_model(attempt, model, name, transformers_logits):
    file, _ = exported(attempt(), model(name), quantization="f16")
    back = attempt()
    section = {"type": "transformers", "dtype": "float32"}
    config = validate(ExportConfig, {"source": str(file.parent), "to": section}, "it")
    estimate = export_plan.check(config, export_plan.export_source(config, load_host()), back.directory)
    task.export(config, back)
    assert verify_directory(back.output).manifest.kind == "model"
    size = sum(path.stat().st_size for path in back.output.glob("*.safetensors"))
    assert size == pytest.approx(estimate.size, rel=0.02)
    assert "quantization_config" not in json.loads((back.output / "config.json").read_text())
    off = transformers_logits(back.output, IDS) - transformers_logits(model(name), IDS)
    assert float(off.abs().max()) < 1e-2
    templates = [resolve_model(str(path), load_host()).template for path in (back.output, model(name))]
    assert templates[0] == templates[1]


def test_what_transformers_reads_otherwise_is_refused(attempt, model):
    """It reads no scaling of rotary positions."""
    file, _ = exported(attempt(), model("yarn rope"), quantization="f16")
    with pytest.raises(ModelError, match=r"scaled rotary positions \(llama.rope.scaling"):
        task.export(validate(ExportConfig, {"source": str(file), "to": {"type": "transformers"}}, "it"), attempt())


def test_only_a_file_comes_back(attempt, model):
    with pytest.raises(ModelError, match="is no GGUF file; 'transformers' is made of those"):
        task.export(validate(ExportConfig, {"source": str(model()), "to": {"type": "transformers"}}, "it"), attempt())
    parts, _ = exported(attempt(), model(**WIDE), quantization="q8_0", split="500KB")
    with pytest.raises(ModelError, match="it is in several parts"):
        task.export(validate(ExportConfig, {"source": str(parts), "to": {"type": "transformers"}}, "it"), attempt())


def artefact_of(directory, target, data):
    """The model as an artefact that was trained on `data`, with two rows held out."""
    shutil.copytree(directory, target)
    section = {"sources": [str(data)], "eval_rows": 2, "split_seed": 3}
    write_manifest(target, Manifest(kind="model", parameters={"data": section}))
    return target


@pytest.mark.parametrize("named", [False, True])
def test_held_out_rows_are_never_calibrated_on(attempt, model, rows, tmp_path, named):
    """Of twenty rows eighteen are left, whether the model's own are asked for or the same file by its name."""
    source = artefact_of(model(), tmp_path / "tuned", rows)
    asked = [str(rows)] if named else ["own"]
    with pytest.raises(ModelError, match="give 18 calibration rows, and 20 were asked for"):
        exported(attempt(), source, quantization="q4_0", calibration=asked, calibration_rows=20)
    resolved, host = resolve_model(str(source), load_host()), load_host()
    encoder = Encoder(load_tokenizer(resolved), template_of(resolved, host))
    found = calibration_rows(calibration_data(resolved, asked, host, print), 18, encoder).rows
    section = validate(DataSection, resolved.manifest.parameters["data"], "it")
    held = mix(section, host.datasets, section.eval_rows, None, section.split_seed).heldout
    held_ids = {tuple(encoder.example(record.messages).input_ids) for record in held}
    assert len(held_ids) == 2
    assert len({tuple(row) for row in found}) == 18
    assert not held_ids & {tuple(row) for row in found}


def test_a_copy_of_a_held_out_row_is_one_in_another_file_too(attempt, model, rows, tmp_path):
    """White space and case apart, as wherever else held-out rows are told."""
    source, copies = artefact_of(model(), tmp_path / "tuned", rows), tmp_path / "copies.jsonl"
    texts = [json.loads(line) for line in rows.read_text().splitlines()]
    spaced = [{key: "  ".join(text.upper().split(" ")) for key, text in row.items()} for row in texts]
    copies.write_text("".join(json.dumps(row) + "\n" for row in spaced))
    with pytest.raises(ModelError, match="give 18 calibration rows, and 20 were asked for"):
        exported(attempt(), source, quantization="q4_0", calibration=[str(copies)], calibration_rows=20)


def test_the_fewest_bits_need_a_matrix_and_get_one(attempt, model, rows, llamacpp_logits):
    settings = {"quantization": "q2_k_s", "calibration": [str(rows)], "calibration_rows": 4}
    file, _ = exported(attempt(), model(**WIDE), **settings)
    assert gguf_metadata(file)["quantize.imatrix.entries_count"] == 3 * 7
    assert bool(torch.isfinite(llamacpp_logits(file, IDS)).all())


def test_camelid_answers_with_the_result(attempt, model):
    """The same greedy tokens as with the model, where nothing was quantised."""
    run = attempt()
    exported(run, model(), quantization="f32")
    answers = []
    for path in (run.output, model()):
        loaded = load_model(str(path), load_host(), EngineConfig(dtype="float32", slots=1))
        try:
            ids = loaded.encoder.prompt_ids([Message("user", "Add 2 and 3.")])
            answers.append((ids, collect(loaded.engine, [Request(ids, Sampling(max_new_tokens=16))])[0]))
        finally:
            loaded.close()
    assert answers[0] == answers[1]


def test_a_full_disk_is_said_and_nothing_stays(attempt, model, monkeypatch):
    monkeypatch.setattr(GGUFWriter, "write_tensor_data", _no_room)
    monkeypatch.setattr(disk_space, "_RESERVE", 1 << 60)
    run = attempt()
    monkeypatch.setattr(export_plan, "require", lambda *_: None)
    with pytest.raises(DiskFull, match=r"writing '.*gguf' needs"):
        exported(run, model(), quantization="q8_0")
    assert not run.output.exists()


def _no_room(writer, data):
    raise OSError(f"{data.nbytes} requested and 0 written")
