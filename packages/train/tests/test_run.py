"""The training task: it learns, it can be stopped and taken up again bit for bit, and it accounts for itself."""

from __future__ import annotations

import contextlib
import json
import math
import random
import shutil
import statistics

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ConfigError, DataError, ModelError, TrainingError, UnknownName
from camelid_core.integrity import PICKLE_SUFFIXES, fingerprint, sha256
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.statistics import number_text
from camelid_core.tasks import Interrupted
from camelid_core.testing import write_jsonl
from camelid_train.loop.trainer import SftTrainer
from camelid_train.methods.lora import LORA, LoraMethod
from camelid_train.monitoring.heldout_rows import read_rows
from camelid_train.planning.rehearsal import rehearse
from camelid_train.run import _training_arguments, train
from camelid_train.saving.checkpoint import newest_valid
from huggingface_hub._local_folder import write_download_metadata

ADAPTER = "adapter_model.safetensors"


@pytest.mark.parametrize("family", ["llama", "bloom", "persimmon", "qwen2"])
def test_the_loss_falls_for_known_and_for_inferred_families(attempt, recipe, family):
    run = attempt()
    metrics = train(recipe("train.max_steps=30", family=family), run)
    # nothing but attention is trained in a random model, so it can learn little more than which tokens are common
    assert statistics.mean(run.losses[-5:]) < statistics.mean(run.losses[:5]) - 0.25
    assert metrics["eval_loss"] < metrics["base_eval_loss"]
    assert metrics["eval_loss_estimate"]["mean"] == pytest.approx(metrics["eval_loss"])
    assert metrics["eval_loss_difference"]["mean"] == pytest.approx(metrics["eval_loss"] - metrics["base_eval_loss"])
    assert len(read_rows(run.output)) == metrics["heldout_rows"] == metrics["eval_loss_estimate"]["clusters"]
    assert f"eval_loss: {number_text(metrics['eval_loss_estimate'])}" in (run.output / "README.md").read_text()
    assert metrics["final_loss"] == run.losses[-1]
    assert metrics["steps"] == 30


def test_one_process_uses_one_card_of_two(recipe, base, tmp_path, monkeypatch):
    """Transformers would wrap the model in a DataParallel, whose copies keep the first card's forwards."""
    monkeypatch.setattr("camelid_train.run.choose_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    model = LORA.load(resolve_model(str(base()), load_host()), "float32", LoraMethod())
    trainer = SftTrainer(model, _training_arguments(recipe(), tmp_path), [], 0, LORA)
    assert trainer._wrap_model(model) is model
    assert trainer.args.train_batch_size == trainer.args.per_device_train_batch_size


def test_the_same_recipe_gives_the_same_adapter_and_another_seed_another(attempt, recipe):
    runs = [attempt(job=job) for job in (1, 2, 3)]
    for run, seed in zip(runs, (0, 0, 1), strict=True):
        train(recipe(f"train.seed={seed}", "train.max_steps=3"), run)
    one, two, other = [sha256(run.output / ADAPTER) for run in runs]
    assert one == two != other


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.save_steps=100",),
        ("train.save_steps=100", "method.dropout=0.1", "train.accumulation=2", "train.schedule=cosine"),
    ],
    ids=["plain", "dropout, accumulation, cosine"],
)
def test_an_interrupted_run_goes_on_bit_for_bit(attempt, recipe, overrides):
    config = recipe("train.max_steps=12", *overrides)
    whole = attempt(job=1)
    undisturbed = train(config, whole)
    stops = random.Random(sum(map(len, overrides)))
    for epoch, stop in enumerate(sorted(stops.sample(range(1, 12), 2)), 1):
        part = attempt(epoch, job=2)
        part.stop_at = (stop, "save")
        with pytest.raises(Interrupted):
            train(config, part)
        assert not part.output.exists()
    last = attempt(3, job=2)
    resumed = train(config, last)
    assert any("Resuming from step-" in event["text"] for event in last.events("log"))
    assert sha256(last.output / ADAPTER) == sha256(whole.output / ADAPTER)
    assert whole.losses[-1] == last.losses[-1]
    measured = ("seconds", "tokens_per_second", "mfu")
    assert {key: value for key, value in resumed.items() if key not in measured} == {
        key: value for key, value in undisturbed.items() if key not in measured
    }


def test_a_killed_run_goes_on_from_the_newest_sound_checkpoint(attempt, recipe):
    config = recipe("train.max_steps=9", "train.save_steps=3")
    whole = attempt(job=1)
    train(config, whole)
    killed = attempt(1, job=2)
    killed.stop_at = (7, "finish")
    train(config, killed)
    checkpoints = killed.directory / "checkpoints"
    newest, older = sorted(checkpoints.iterdir(), reverse=True)
    assert (newest.name, older.name) == ("step-00000006", "step-00000003")
    (newest / "optimizer.safetensors").write_bytes((newest / "optimizer.safetensors").read_bytes()[:-1])
    assert newest_valid([checkpoints]) == older
    resumed = attempt(2, job=2)
    train(config, resumed)
    assert [event["text"] for event in resumed.events("log")][:2] == [
        "The checkpoint step-00000006 is damaged and passed over: optimizer.safetensors is not as it was written.",
        "Resuming from step-00000003.",
    ]
    assert [event["done"] for event in resumed.events("progress")] == [4, 5, 6, 7, 8, 9]
    assert sha256(resumed.output / ADAPTER) == sha256(whole.output / ADAPTER)


def test_nothing_a_run_writes_is_a_pickle(attempt, recipe):
    run = attempt()
    train(recipe("train.save_steps=2"), run)
    files = [path for path in run.directory.rglob("*") if path.is_file()]
    assert any(path.name == "optimizer.safetensors" for path in files)
    assert not [path for path in files if path.suffix in PICKLE_SUFFIXES]


def test_asked_to_finish_it_ends_early_and_keeps_the_result(attempt, recipe):
    run = attempt()
    run.stop_at = (2, "finish")
    metrics = train(recipe("train.max_steps=50"), run)
    assert metrics["steps"] == 2
    assert verify_directory(run.output).manifest.metrics["steps"] == 2


def test_asked_to_save_it_leaves_a_checkpoint_of_that_very_step(attempt, recipe):
    run = attempt()
    run.stop_at = (2, "save")
    with pytest.raises(Interrupted):
        train(recipe("train.save_steps=50"), run)
    assert newest_valid([run.directory / "checkpoints"]).name == "step-00000002"


def test_a_loss_that_is_no_number_ends_the_run_with_advice(attempt, recipe, monkeypatch):
    from camelid_train.loop import trainer

    loss = trainer.label_loss
    monkeypatch.setattr(trainer, "label_loss", lambda *args, **named: loss(*args, **named) * math.nan)
    with pytest.raises(
        TrainingError, match=r"the loss became nan .* at step 1; .*Lower train\.learning_rate \(now 9\.9\)"
    ):
        train(recipe("train.learning_rate=9.9"), attempt())


def test_a_learning_rate_far_too_high_ends_well_or_with_advice(attempt, recipe):
    run = attempt()
    with contextlib.suppress(TrainingError):
        train(recipe("train.learning_rate=9.9", "train.max_steps=20", "train.max_grad_norm=1000"), run)
    assert all(math.isfinite(loss) for loss in run.losses)
    assert run.output.exists() == (len(run.losses) == 20)


def test_the_manifest_says_what_it_was_made_from(attempt, recipe, base, sums):
    run = attempt()
    metrics = train(recipe("train.max_steps=2", "method.r=4"), run)
    manifest = verify_directory(run.output).manifest
    host = load_host()
    assert manifest.kind == "adapter"
    assert manifest.base.path == str(base())
    assert manifest.base.fingerprint == fingerprint(base())
    assert manifest.base.model_type == "llama"
    assert (manifest.template.name, manifest.template.overrides) == ("chatml", "alpaca")
    assert manifest.template.jinja == host.templates["chatml"].jinja()
    assert manifest.template.reference_ids
    (use,) = manifest.datasets
    assert (use.id, use.rows, use.licence) == (str(sums), 36, "unknown")
    assert len(use.sha256) == 64
    assert manifest.parameters["method"]["r"] == 4
    assert manifest.parameters["train"]["max_steps"] == 2
    assert manifest.licences.base == "unknown"
    assert manifest.plugins == {plugin.name: plugin.version for plugin in host.plugins}
    assert {"torch", "transformers", "peft", "camelid-train"} <= set(manifest.packages)
    assert manifest.metrics == metrics


def test_a_revision_is_what_is_there_or_refused(attempt, recipe, base, tmp_path):
    """What is on disk is trained on, so that is what the record names; the wish is only compared with it."""
    commit = "0123456789" * 4
    model = shutil.copytree(base(), tmp_path / "fetched")
    there = recipe(f"model.name={json.dumps(str(model))}", "model.revision=0123456", "train.max_steps=1")
    with pytest.raises(ConfigError, match="does not say of which commit it is"):
        train(there, attempt())
    for name in ("config.json", "model.safetensors"):
        write_download_metadata(model, name, commit, "etag")
    wrong = there.with_overrides(["model.revision=v1.0"])
    with pytest.raises(ConfigError, match=rf"model\.revision is 'v1\.0', but .* is of commit {commit}"):
        train(wrong, attempt(job=2))
    with pytest.raises(TrainingError, match=rf"stage 'model': .* is of commit {commit}"):
        rehearse(wrong)
    run = attempt(job=3)
    train(there, run)
    assert run.manifest["base"]["revision"] == commit


def test_the_adapter_is_a_plain_peft_directory_with_the_right_tokenizer_and_template(attempt, recipe, base):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = attempt()
    train(recipe("train.max_steps=2"), run)
    model = AutoModelForCausalLM.from_pretrained(base(), dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, str(run.output))
    assert json.loads((run.output / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base())
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        with adapted.disable_adapter():
            plain = adapted(input_ids=ids).logits
        assert (adapted(input_ids=ids).logits - plain).abs().max() > 1e-4
    tokenizer = AutoTokenizer.from_pretrained(run.output)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert resolve_model(str(run.output), load_host()).template == "chatml"


def test_events_say_how_far_it_is_and_how_it_goes(attempt, recipe):
    run = attempt()
    train(recipe("train.max_steps=4", "eval.steps=2"), run)
    assert [(event["done"], event["total"], event["unit"]) for event in run.events("progress")] == [
        (step, 4, "steps") for step in (1, 2, 3, 4)
    ]
    assert run.events("progress")[-1]["eta"] == 0
    assert [event["step"] for event in run.events("eval")] == [0, 2, 4]
    (data,) = run.events("data")
    assert (data["rows"], data["kept"], data["heldout"], data["dropped"]) == (36, 36, 4, 0)
    assert all(set(event) >= {"step", "epoch", "loss", "grad_norm", "learning_rate"} for event in run.events("train"))


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (1, 4), (3, 4), (11, 4)])
def test_small_data_trains(attempt, recipe, tmp_path, rows, size):
    path = write_jsonl(tmp_path / "few.jsonl", [{"instruction": f"q{n}", "output": f"a{n}"} for n in range(rows)])
    run = attempt()
    config = recipe(f"data.sources={[str(path)]}", f"train.batch_size={size}", "train.epochs=1")
    config = config.model_copy(update={"train": config.train.model_copy(update={"max_steps": None})})
    metrics = train(config, run)
    kept = rows - min(4, rows // 10)
    assert metrics["steps"] == math.ceil(kept / size)
    assert ("eval_loss" in metrics) == (rows // 10 > 0)
    assert run.losses


def test_part_of_an_epoch_and_accumulation_over_its_end(attempt, recipe):
    run = attempt()
    metrics = train(recipe("train.max_steps=5", "train.accumulation=3"), run)
    assert metrics["steps"] == 5
    assert len(run.losses) == 5


def test_an_adapter_is_no_base_to_train_on(attempt, recipe):
    first = attempt(job=1)
    train(recipe("train.max_steps=1"), first)
    with pytest.raises(DataError, match="is an adapter; merge it first: `camelid merge"):
        train(recipe(f"model.name={json.dumps(str(first.output))}"), attempt(job=2))


@pytest.mark.parametrize(
    ("override", "error", "sentence"),
    [
        ("data.template=alpacca", UnknownName, "template 'alpacca' is not known. Did you mean 'alpaca'"),
        ("data.sources=['cot-arithmetik']", UnknownName, "dataset 'cot-arithmetik' is not known. Did you mean"),
        ('method.targets=["query"]', ModelError, "this model has no linear layer 'query'; it has .*q_proj.*all-linear"),
        ("model.name=nobody/nothing", ModelError, "type `camelid models pull nobody/nothing`"),
    ],
)
def test_what_is_not_there_is_said_before_any_training(attempt, recipe, override, error, sentence):
    run = attempt()
    with pytest.raises(error, match=sentence):
        train(recipe(override), run)
    assert not run.events("progress")


def test_all_linear_layers_may_be_adapted(attempt, recipe):
    run = attempt()
    train(recipe('method.targets=["all-linear"]', "train.max_steps=1"), run)
    targets = json.loads((run.output / "adapter_config.json").read_text())["target_modules"]
    assert {"q_proj", "down_proj"} <= {target.rpartition(".")[2] for target in targets}
    assert "lm_head" not in targets
