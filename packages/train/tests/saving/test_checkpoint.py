"""Checkpoints: whole or not there, never code, and what comes back is what was saved."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
import torch
from camelid_core.errors import ArtefactError
from camelid_core.integrity import PICKLE_SUFFIXES
from camelid_train.saving import checkpoint
from camelid_train.saving.run_totals import RunTotals
from transformers import TrainerState


@pytest.fixture
def parts(base):
    """An adapter with an optimizer and a schedule, some steps in."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def make(r: int = 2):
        plain = AutoModelForCausalLM.from_pretrained(base(), dtype=torch.float32)
        model = get_peft_model(plain, LoraConfig(r=r, target_modules=["q_proj"], task_type="CAUSAL_LM"))
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return model, optimizer, scheduler

    return make


def work(model, optimizer, scheduler, steps: int = 2) -> None:
    for _ in range(steps):
        model(input_ids=torch.tensor([[5, 6, 7]])).logits.square().mean().backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()


@pytest.fixture
def saved(parts, tmp_path):
    made = parts()
    work(*made)
    return checkpoint.save(
        tmp_path / "checkpoints", 2, *made, TrainerState(global_step=2), RunTotals(seconds=1.5)
    ), made


def weights(model) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_what_comes_back_goes_on_as_if_nothing_had_happened(saved, parts):
    path, (model, optimizer, scheduler) = saved
    again = parts()
    checkpoint.load_weights(path, again[0])
    checkpoint.load_optimizer(path, again[1], again[2])
    for run in ((model, optimizer, scheduler), again):
        work(*run)
    assert again[2].get_last_lr() == scheduler.get_last_lr()
    for name, parameter in weights(model).items():
        assert torch.equal(parameter, weights(again[0])[name])


def test_chance_goes_on_where_it_was(saved):
    def draw():
        return (
            random.random(),
            random.gauss(0, 1),
            float(np.random.rand()),
            float(np.random.randn()),
            float(torch.rand(1)),
        )

    path, _ = saved
    checkpoint.load_rng_state(path)
    first = draw()
    draw()
    checkpoint.load_rng_state(path)
    assert draw() == first


def test_it_is_safetensors_and_json_and_nothing_else(saved):
    path, _ = saved
    names = {file.name for file in path.iterdir()}
    assert {
        "weights.safetensors",
        "method.safetensors",
        "optimizer.safetensors",
        "random.safetensors",
        "trainer_state.json",
    } <= names
    assert not [name for name in names if name.endswith(PICKLE_SUFFIXES)]
    assert {file.suffix for file in path.iterdir()} <= {".safetensors", ".json"}


def files_of(path):
    return sorted(json.loads((path / "checkpoint.json").read_text())["files"])


def damages(path):
    """Every way a file can be hurt, one at a time."""
    for name in files_of(path):
        data = (path / name).read_bytes()
        yield name, data[:-1]
        yield name, data + b"\0"
        yield name, bytes(len(data))
        yield name, None
    for content in (
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"files": []}',
        b'{"files": {}}',
        b'{"files": {"gone": ""}}',
        b"\xff",
        None,
    ):
        yield "checkpoint.json", content


def test_a_damaged_one_is_never_picked_up_and_an_older_sound_one_is(saved, tmp_path):
    path, made = saved
    older = checkpoint.save(tmp_path / "earlier" / "checkpoints", 1, *made, TrainerState(global_step=1), RunTotals())
    directories = [path.parent, older.parent]
    for name, data in list(damages(path)):
        whole = (path / name).read_bytes()
        assert checkpoint.newest_valid(directories) == path
        (path / name).unlink() if data is None else (path / name).write_bytes(data)
        assert checkpoint.newest_valid(directories) == older, (name, data and data[:10])
        (path / name).write_bytes(whole)


def test_one_that_was_never_finished_is_not_there(parts, tmp_path, monkeypatch):
    made = parts()
    work(*made)
    for step in ("_save_optimizer", "_save_rng_state", "write_durably", "fsync_directory"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, step, lambda *args: (_ for _ in ()).throw(OSError("full")))
            with pytest.raises(OSError):
                checkpoint.save(tmp_path / step, 1, *made, TrainerState(), RunTotals())
        found = checkpoint.newest_valid([tmp_path / step])
        assert found is None or step == "fsync_directory"
        assert checkpoint.save(tmp_path / step, 1, *made, TrainerState(), RunTotals()).is_dir()
        assert checkpoint.newest_valid([tmp_path / step]).name == "step-00000001"
        assert [item.name for item in (tmp_path / step).iterdir()] == ["step-00000001"]


def test_only_the_newest_are_kept_and_saving_twice_is_no_fault(parts, tmp_path):
    made = parts()
    work(*made)
    for step in (1, 5, 5, 10, 100):
        checkpoint.save(tmp_path, step, *made, TrainerState(), RunTotals())
        checkpoint.prune([tmp_path], step, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_the_one_with_the_most_steps_wins_wherever_it_lies(saved, tmp_path):
    path, _ = saved
    later = tmp_path / "elsewhere" / "step-00000009"
    shutil.copytree(path, later)
    assert checkpoint.newest_valid([path.parent, later.parent]) == later
    assert checkpoint.newest_valid([later.parent, path.parent]) == later
    assert checkpoint.newest_valid([tmp_path / "nowhere"]) is None


def test_weights_of_another_method_are_refused(saved, base):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    path, _ = saved
    other = get_peft_model(AutoModelForCausalLM.from_pretrained(base()), LoraConfig(r=2, target_modules=["v_proj"]))
    with pytest.raises(ArtefactError, match=r"is from another method or model: it holds '.*q_proj"):
        checkpoint.load_weights(path, other)


def test_a_tally_comes_back_with_its_checkpoint(saved):
    assert checkpoint.load_totals(saved[0]) == RunTotals(seconds=1.5)


def test_many_weights_come_back_from_several_files(base, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    def made(seed):
        model = AutoModelForCausalLM.from_pretrained(base("llama", seed), dtype=torch.float32)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

    monkeypatch.setattr(checkpoint, "_SHARD", "100KB")
    first, other = made(0), made(1)
    extra = {"ranks": torch.tensor([1, 0, 1], dtype=torch.uint8)}
    path = checkpoint.save(tmp_path, 1, *first, TrainerState(), RunTotals(), extra=extra)
    assert len(list(path.glob("weights-*.safetensors"))) > 2
    checkpoint.load_weights(path, other[0])
    assert all(torch.equal(tensor, weights(other[0])[name]) for name, tensor in weights(first[0]).items())
    assert torch.equal(checkpoint.load_method_state(path)["ranks"], extra["ranks"])


def test_weights_that_do_not_fit_or_are_too_few_are_refused(saved, base):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    path, _ = saved
    for config, sentence in (
        (LoraConfig(r=4, target_modules=["q_proj"]), "it holds '.*q_proj"),
        (LoraConfig(r=2, target_modules=["q_proj", "v_proj"]), "it lacks '.*v_proj"),
    ):
        other = get_peft_model(AutoModelForCausalLM.from_pretrained(base()), config)
        with pytest.raises(ArtefactError, match=sentence):
            checkpoint.load_weights(path, other)
