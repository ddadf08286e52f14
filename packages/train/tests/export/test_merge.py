"""Merging: a plain model that says the same as base and adapter together, or a sentence why not."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from camelid_core.artefacts import verify_directory, write_manifest
from camelid_core.errors import ArtefactError, ModelError, UnknownName
from camelid_core.jobs.resume_point import resume_step
from camelid_core.tasks import Interrupted
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.run import train
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Where adapters lie that some test has trained already."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def adapter(attempt, recipe, trained, tmp_path):
    """A trained adapter for a family: a copy, to be damaged at will."""

    def make(family: str = "llama"):
        if not (trained / family).exists():
            run = attempt(job=1)
            train(recipe("train.max_steps=2", family=family), run)
            shutil.copytree(run.output, trained / family)
        return shutil.copytree(trained / family, tmp_path / family)

    return make


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("family", ["llama", "bloom", "gpt_neox", "qwen2"])
def test_the_merged_model_loads_plainly_and_says_the_same(attempt, adapter, base, family):
    directory = adapter(family)
    run = attempt(job=2)
    metrics = merge(MergeConfig(adapter=str(directory)), run)
    plain = AutoModelForCausalLM.from_pretrained(base(family), dtype=torch.float32)
    before = logits(plain)
    adapted = logits(PeftModel.from_pretrained(plain, str(directory)))
    merged = logits(AutoModelForCausalLM.from_pretrained(run.output, dtype=torch.float32))
    assert (merged - adapted).abs().max() <= 1e-3
    assert (merged - before).abs().max() > 1e-3
    assert metrics["logit_difference"] <= 1e-3 < metrics["adapter_effect"]
    assert AutoTokenizer.from_pretrained(run.output).chat_template
    assert not (run.output / "adapter_config.json").exists()


def test_the_merged_manifest_keeps_what_the_adapter_was_made_from(attempt, adapter):
    directory = adapter()
    run = attempt(job=2)
    metrics = merge(MergeConfig(adapter=str(directory)), run)
    old, new = verify_directory(directory).manifest, verify_directory(run.output).manifest
    assert new.kind == "model"
    assert (new.base, new.template, new.datasets, new.licences) == (old.base, old.template, old.datasets, old.licences)
    assert new.metrics == {**old.metrics, **metrics}
    assert new.parameters["method"] == old.parameters["method"]
    assert new.parameters["merge"]["adapter"] == str(directory)
    assert "model.safetensors" in new.files
    assert WEIGHTS not in new.files


@pytest.mark.parametrize(("dtype", "stored"), [("auto", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")])
def test_it_is_stored_in_the_format_asked_for(attempt, adapter, dtype, stored):
    run = attempt(job=2)
    merge(MergeConfig(adapter=str(adapter()), dtype=dtype), run)
    assert json.loads((run.output / "config.json").read_text())["dtype"] == stored
    tensors = load_file(run.output / "model.safetensors").values()
    assert {tensor.dtype for tensor in tensors} == {getattr(torch, stored)}


def rewrite_weights(directory, change) -> None:
    tensors = {name: change(name, tensor) for name, tensor in load_file(directory / WEIGHTS).items()}
    save_file(tensors, directory / WEIGHTS, {"format": "pt"})
    write_manifest(directory, verify_manifest(directory))


def verify_manifest(directory):
    from camelid_core.artefacts import read_artefact

    return read_artefact(directory).manifest


def test_an_adapter_that_changes_nothing_is_refused(attempt, adapter):
    directory = adapter()
    rewrite_weights(directory, lambda name, tensor: tensor * ("lora_B" not in name))
    run = attempt(job=2)
    with pytest.raises(ModelError, match=r"changes nothing: its logits equal the base's. Was it trained"):
        merge(MergeConfig(adapter=str(directory)), run)
    assert not run.output.exists()


def test_an_adapter_for_another_base_of_the_same_shape_is_refused(attempt, adapter, base):
    directory = adapter()
    other = base("llama", seed=1)
    manifest = verify_manifest(directory)
    write_manifest(
        directory, manifest.model_copy(update={"base": manifest.base.model_copy(update={"path": str(other)})})
    )
    with pytest.raises(ModelError, match="was trained on another base than"):
        merge(MergeConfig(adapter=str(directory)), attempt(job=2))


def test_an_adapter_of_a_foreign_tool_merges_without_a_manifest(attempt, adapter):
    directory = adapter()
    (directory / "camelid.json").unlink()
    run = attempt(job=2)
    merge(MergeConfig(adapter=str(directory)), run)
    assert verify_directory(run.output).manifest.template.name == "alpaca"


def test_a_full_model_has_nothing_to_merge(attempt, base):
    with pytest.raises(ModelError, match="is a full model already; there is nothing to merge"):
        merge(MergeConfig(adapter=str(base())), attempt())


def test_an_adapter_cut_short_is_named(attempt, adapter):
    directory = adapter()
    (directory / WEIGHTS).write_bytes((directory / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=r"'adapter_model\.safetensors'"):
        merge(MergeConfig(adapter=str(directory)), attempt(job=2))


def test_an_adapter_with_a_flipped_bit_is_named(attempt, adapter):
    directory = adapter()
    data = bytearray((directory / WEIGHTS).read_bytes())
    data[-2] ^= 64
    (directory / WEIGHTS).write_bytes(data)
    with pytest.raises(ArtefactError, match=r"'adapter_model\.safetensors' in .* is not the file that was written"):
        merge(MergeConfig(adapter=str(directory)), attempt(job=2))


def test_an_adapter_without_its_base_says_so(attempt, adapter, base, tmp_path):
    directory = adapter()
    moved = shutil.copytree(directory, tmp_path / "moved")
    manifest = verify_manifest(moved)
    write_manifest(
        moved, manifest.model_copy(update={"base": manifest.base.model_copy(update={"path": "/gone", "id": "x"})})
    )
    config = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/gone"}))
    with pytest.raises(ModelError, match="needs its base model '/gone', which is not here"):
        merge(MergeConfig(adapter=str(moved)), attempt(job=2))


def test_an_unknown_adapter_is_a_sentence(attempt):
    with pytest.raises(UnknownName, match="model or artefact 'my-rum' is not known"):
        merge(MergeConfig(adapter="my-rum"), attempt())


def test_a_merge_that_says_something_else_is_not_kept(attempt, adapter, monkeypatch):
    def wrong(self, **options):
        model = self.unload()
        model.get_output_embeddings().weight.data += 1
        return model

    directory = adapter()
    monkeypatch.setattr(PeftModel, "merge_and_unload", wrong, raising=False)
    run = attempt(job=2)
    with pytest.raises(ModelError, match=r"the merged model differs from base \+ adapter by"):
        merge(MergeConfig(adapter=str(directory)), run)
    assert not run.output.exists()


def test_asked_to_leave_it_leaves_before_the_next_part_and_without_a_half(attempt, adapter, home):
    directory, run = adapter(), attempt(job=2)
    run.stop_at = (1, "save")
    with pytest.raises(Interrupted):
        merge(MergeConfig(adapter=str(directory)), run)
    assert [event["what"] for event in run.events("progress")] == ["loading base and adapter", "merging"]
    assert not run.output.exists()
    assert resume_step(home, 2) == 0


def test_what_was_trained_on_a_quantised_base_merges_into_the_plain_one_or_into_what_training_saw(
    attempt, recipe, base
):
    trained = attempt(job=1)
    train(recipe("method.type=qlora", "train.max_steps=2"), trained)
    merged = {}
    for job, kind in enumerate(("plain", "as-trained"), 2):
        run = attempt(job=job)
        merge(MergeConfig(adapter=str(trained.output), weights=kind), run)
        merged[kind] = logits(AutoModelForCausalLM.from_pretrained(run.output, dtype=torch.float32))
    plain = AutoModelForCausalLM.from_pretrained(base(), dtype=torch.float32)
    on_plain = logits(PeftModel.from_pretrained(plain, trained.output))
    assert torch.allclose(merged["plain"], on_plain, atol=1e-3)
    assert not torch.allclose(merged["as-trained"], on_plain, atol=1e-3)


def test_a_large_result_is_stored_in_several_files(attempt, adapter):
    run = attempt(job=2)
    merge(MergeConfig(adapter=str(adapter()), shard="100KB"), run)
    assert len(list(run.output.glob("model-*.safetensors"))) > 2
    assert verify_directory(run.output).manifest.kind == "model"
