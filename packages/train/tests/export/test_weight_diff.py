"""Weight diffs: a model comes back exactly, from its own base alone; and a diff is never taken for a model."""

from __future__ import annotations

import json
import shutil
from itertools import count
from pathlib import Path

import pytest
import torch
from camelid_core.artefacts import read_artefact, verify_directory
from camelid_core.errors import DiskFull, ModelError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.weight_files import ShardWriter, WeightFiles
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted
from camelid_train.export import weight_diff
from camelid_train.export.config import DiffConfig, RecoverConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TABLES = ("model.embed_tokens.weight", "lm_head.weight")


def tuned_from(base: Path, directory: Path, dtype=torch.float32, rows: int = 0) -> Path:
    """A model with other weights, and `rows` more in its vocabulary."""
    shutil.copytree(base, directory)
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        if name in TABLES and rows:
            tensor = torch.cat([tensor, torch.randn(rows, tensor.shape[1], generator=generator)])
        tensors[name] = (tensor + 0.01 * torch.randn(tensor.shape, generator=generator)).to(dtype).contiguous()
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    config["vocab_size"] += rows
    (directory / "config.json").write_text(json.dumps(config | {"dtype": str(dtype).removeprefix("torch.")}))
    (directory / "LICENSE.txt").write_text("Terms.")
    return directory


@pytest.fixture
def make(attempt, base, tmp_path):
    """A tuned model and its diff."""

    def made(weights=torch.float32, rows: int = 0, **options):
        tuned = tuned_from(base(), tmp_path / "tuned", weights, rows)
        run = attempt(job=1)
        weight_diff.make(DiffConfig(base=str(base()), tuned=str(tuned), **options), run)
        return tuned, run.output

    return made


@pytest.mark.parametrize(("dtype", "rows"), [(torch.float32, 0), (torch.bfloat16, 0), (torch.float16, 3)])
@pytest.mark.parametrize("shard", ["4GB", "20KB"])
def test_the_recovered_model_is_the_tuned_one(attempt, make, base, dtype, rows, shard):
    tuned, diff = make(dtype, rows, shard=shard)
    run = attempt(job=2)
    result = weight_diff.recover(RecoverConfig(diff=str(diff), base=str(base()), shard=shard), run)
    assert result["verified"]
    ours, theirs = WeightFiles(run.output), load_file(tuned / "model.safetensors")
    assert ours.names == sorted(theirs)
    for name, tensor in theirs.items():
        assert ours.tensor(name).dtype == dtype
        assert (ours.tensor(name).float() - tensor.float()).abs().max() <= 1e-6, name
    verify_directory(diff)
    assert verify_directory(run.output).manifest.kind == "model"
    assert len(list(run.output.glob("model*.safetensors"))) == (1 if shard == "4GB" else len(set(_files(run.output))))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        loaded, expected = (
            AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)(input_ids=ids).logits
            for path in (run.output, tuned)
        )
    assert torch.allclose(loaded, expected, atol=1e-5)
    assert len(AutoTokenizer.from_pretrained(run.output)) == len(AutoTokenizer.from_pretrained(tuned))
    assert (run.output / "LICENSE.txt").read_text() == "Terms."


def _files(directory: Path) -> list[str]:
    return list(json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"].values())


def test_a_diff_of_half_the_size_comes_back_nearly_and_is_verified_as_what_it_gives(attempt, make, base):
    tuned, diff = make(dtype="bfloat16")
    run = attempt(job=2)
    assert weight_diff.recover(RecoverConfig(diff=str(diff), base=str(base())), run)["verified"]
    theirs = load_file(tuned / "model.safetensors")
    worst = max(float((WeightFiles(run.output).tensor(name) - tensor).abs().max()) for name, tensor in theirs.items())
    assert 0 < worst < 1e-3


def test_a_diff_is_refused_as_a_model_wherever_one_is_named(make, tmp_path):
    _, diff = make()
    elsewhere = shutil.copytree(diff, tmp_path / "without-manifest")
    (elsewhere / "camelid.json").unlink()
    for path in (diff, elsewhere):
        with pytest.raises(ModelError, match=r"is a weight diff.*camelid diff recover"):
            resolve_model(str(path), load_host())
    with pytest.raises(OSError, match=r"no file named|does not appear"):  # transformers takes it for no model either
        AutoModelForCausalLM.from_pretrained(diff)
    card = (diff / "README.md").read_text()
    assert "This model is a model diff" in card
    assert str(tmp_path) not in card


def test_other_weights_of_the_same_shape_are_found_out_and_nothing_is_left(attempt, make, base, tmp_path):
    _, diff = make()
    other = tuned_from(base(), tmp_path / "other")
    run = attempt(job=2)
    with pytest.raises(ModelError, match="is not the model that the diff was made of"):
        weight_diff.recover(RecoverConfig(diff=str(diff), base=str(other)), run)
    assert not run.output.exists()
    assert any("does not have the files of the base" in event["text"] for event in run.events("log"))


def test_a_diff_made_elsewhere_is_recovered_with_the_mean_row_and_it_is_said(attempt, base, tmp_path):
    """As open-instruct does: the base is grown to the diff's vocabulary by its mean row."""
    tuned = tuned_from(base(), tmp_path / "tuned", rows=1)
    raw, own = load_file(base() / "model.safetensors"), load_file(tuned / "model.safetensors")
    foreign = shutil.copytree(tuned, tmp_path / "foreign")
    for name in TABLES:
        if name in raw:
            raw[name] = torch.cat([raw[name], raw[name].mean(dim=0, keepdim=True)])
    save_file({name: own[name] - raw[name] for name in own}, foreign / "model.safetensors", {"format": "pt"})
    run = attempt(job=1)
    result = weight_diff.recover(RecoverConfig(diff=str(foreign), base=str(base())), run)
    assert not result["verified"]
    assert any("cannot be checked" in event["text"] for event in run.events("log"))
    recovered = load_file(run.output / "model.safetensors")
    assert all(torch.allclose(recovered[name], own[name], atol=1e-6) for name in own)


def test_what_is_not_of_one_shape_is_refused_by_name(attempt, make, base, tmp_path):
    tuned, diff = make()
    narrow = shutil.copytree(base(), tmp_path / "narrow")
    tensors = load_file(narrow / "model.safetensors")
    norm = "model.norm.weight"
    save_file(tensors | {norm: tensors[norm][:-1].contiguous()}, narrow / "model.safetensors", {"format": "pt"})
    lacking = shutil.copytree(base(), tmp_path / "lacking")
    save_file({name: each for name, each in tensors.items() if name != norm}, lacking / "model.safetensors")
    whole = shutil.copytree(base(), tmp_path / "numbers")
    save_file(tensors | {norm: tensors[norm].to(torch.int32)}, whole / "model.safetensors", {"format": "pt"})
    jobs = count(2)
    for directory, message in (
        (narrow, r"has shape .* another base is needed"),
        (lacking, rf"lacks {norm}"),
        (whole, "is of I32; a diff is of plain weights"),
    ):
        for run_it, config in (
            (weight_diff.make, DiffConfig(base=str(directory), tuned=str(tuned))),
            (weight_diff.recover, RecoverConfig(diff=str(diff), base=str(directory))),
        ):
            run = attempt(job=next(jobs))
            with pytest.raises(ModelError, match=message):
                run_it(config, run)
            assert not run.output.exists()


def test_an_adapter_a_model_and_a_name_that_is_none_are_refused_where_a_diff_is_wanted(attempt, base, home):
    with pytest.raises(ModelError, match="there is no diff 'nothing'"):
        weight_diff.recover(RecoverConfig(diff="nothing", base=str(base())), attempt(job=1))


def test_a_full_disk_and_a_stop_leave_nothing(attempt, base, tmp_path, monkeypatch):
    tuned = tuned_from(base(), tmp_path / "tuned")
    config = DiffConfig(base=str(base()), tuned=str(tuned))
    run = attempt(job=1)
    run.stop_at = (2, "save")
    with pytest.raises(Interrupted):
        weight_diff.make(config, run)
    assert not run.output.exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    run = attempt(job=2)
    with pytest.raises(DiskFull, match="the diff needs"):
        weight_diff.make(config, run)
    assert not run.output.exists()


def test_licences_and_the_base_are_in_the_manifest(make, base):
    _, diff = make()
    manifest = read_artefact(diff).manifest
    assert manifest.base is not None
    assert manifest.base.id == str(base())
    assert manifest.licences.effective == "unknown"
    assert len(manifest.parameters["diff"]["recovered_sha256"]) == 64


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=8), limit=st.integers(1, 200)
)
def test_shards_hold_every_tensor_once_and_keep_to_their_limit(tmp_path_factory, shapes, limit):
    directory = tmp_path_factory.mktemp("shards")
    tensors = {f"t{number}": torch.rand(shape) for number, shape in enumerate(shapes)}
    coming = {name: (each.dtype, each.shape) for name, each in tensors.items()}
    with ShardWriter(directory, "model", limit, coming) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor)
    found = WeightFiles(directory, "model")
    assert found.names == sorted(tensors)
    assert all(torch.equal(found.tensor(name), tensor) for name, tensor in tensors.items())
    for path in directory.glob("*.safetensors"):
        held = load_file(path)
        assert len(held) == 1 or sum(each.numel() * 4 for each in held.values()) <= limit
    assert {path.name for path in directory.iterdir()} >= {"model.safetensors"} or _files(directory)
    assert not list(directory.glob(".*"))
