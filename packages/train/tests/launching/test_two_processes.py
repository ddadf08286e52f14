"""Two processes do what one does: the same steps on the same rows, and an interrupted run goes on to the bit."""

from __future__ import annotations

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.integrity import sha256
from camelid_train.run import train
from camelid_train.saving.checkpoint import newest_valid, process_count
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ADAPTER, MODEL = "adapter_model.safetensors", "model.safetensors"


def farthest(one, other, name):
    first, second = load_file(one.output / name), load_file(other.output / name)
    assert first.keys() == second.keys()
    return max(float((first[key] - second[key]).abs().max()) for key in first)


def test_two_processes_do_what_one_does_and_go_on_to_the_bit(attempt, recipe, in_two_processes, poisoned):
    # 37 rows are 4 steps of 8 and a last one of 5: in batches of 2 × 2, one process has none left for the last batch
    steps = ("data.eval_rows=3", "train.epochs=2", "train.max_steps=9")
    shards = ("launch.processes=2", "launch.strategy=fsdp", "train.batch_size=2", "train.accumulation=2")
    full = ("method.type=full", "train.learning_rate=0.001")
    chance = ("method.dropout=0.1", "train.batch_size=4", "train.save_steps=100")
    poison = (*poisoned, "train.seed=4", "train.max_steps=8", "train.preflight=false")
    ddp, sharded_lora, sharded_full, whole, _, resumed, cut, _, mended, moved, short, tried, *sick = in_two_processes(
        (recipe(*steps, "train.batch_size=4"), 1, 1, 0, 0),
        (recipe(*steps, *shards), 2, 1, 0, 0),
        (recipe(*steps, *shards, *full), 3, 1, 0, 0),
        (recipe(*steps, *chance), 4, 1, 0, 0),
        (recipe(*steps, *chance), 5, 1, 3, 0),
        (recipe(*steps, *chance), 5, 2, 0, 0),
        (recipe(*steps, *shards), 6, 1, 7, 0),
        (recipe(*steps, *shards, *full), 7, 1, 5, 0),
        (recipe(*steps, *shards, *full), 7, 2, 0, 0),
        (recipe(*steps, "train.batch_size=4"), 8, 1, 4, 0),
        (recipe(*steps, "train.batch_size=4", "train.preflight=false"), 9, 1, 0, 1),
        (recipe(*steps, "train.batch_size=2", "train.accumulation=2"), 10, 1, 0, 1),
        (recipe(*poison, "train.batch_size=4"), 13, 1, 0, 0),
        (recipe(*poison, *shards), 14, 1, 0, 0),
    )

    one, one_full = attempt(job=11), attempt(job=12)
    metrics = train(recipe(*steps), one)
    train(recipe(*steps, *full), one_full)
    assert len(one.losses) == 9
    for run in (ddp, sharded_lora, short, tried):
        assert run.losses == pytest.approx(one.losses, abs=1e-4)
        assert farthest(run, one, ADAPTER) < 1e-4
        manifest = verify_directory(run.output).manifest
        assert (manifest.metrics["steps"], manifest.metrics["trained_tokens"]) == (9, metrics["trained_tokens"])
        assert manifest.metrics["eval_loss"] == pytest.approx(metrics["eval_loss"], abs=1e-4)
        (launch,) = run.events("launch")
        assert (launch["processes"], launch["global_batch"]) == (2, 8)
        assert [event["done"] for event in run.events("progress") if event["unit"] == "steps"] == list(range(1, 10))
    assert sharded_full.losses == pytest.approx(one_full.losses, abs=1e-4)
    assert farthest(sharded_full, one_full, MODEL) < 1e-4
    assert [run.events("shards")[0]["found"] for run in (ddp, sharded_lora, sharded_full)] == [False, True, True]

    # who had no room went on in parts, and after that step the others did, too
    assert [event["batch_size"] for event in short.events("micro_batch")] == [1]
    assert "Another process had no room for more" in short.events("log")[-1]["text"]
    assert [event["batch_size"] for event in tried.events("micro_batch")] == [1]
    for run in sick:
        (stop,) = run.events("stop")
        assert (stop["reason"], stop["rows"][0]["id"], len(stop["rows"])) == ("nan", "r17", 5)
        assert stop["text"] == run.events("failed")[0]["text"]

    assert resumed.losses == whole.losses[4:]  # asked while step 3 was told of, agreed after the next
    assert sha256(resumed.output / ADAPTER) == sha256(whole.output / ADAPTER)
    assert sha256(mended.output / MODEL) == sha256(sharded_full.output / MODEL)

    # in another number of process_count, and from shards into one
    for earlier, job in ((cut, 6), (moved, 8)):
        assert process_count(newest_valid([earlier.directory / "checkpoints"])) == 2
        alone = attempt(2, job=job)
        train(recipe(*steps), alone)
        assert any("2 processes; now there are 1" in event["text"] for event in alone.events("log"))
        assert farthest(alone, one, ADAPTER) < 1e-4
        assert torch.isfinite(torch.tensor(alone.losses)).all()
