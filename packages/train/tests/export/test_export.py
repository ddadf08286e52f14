"""Exports: refused before they start where they cannot fit, whole or not at all, loaded by what they are made for."""

from __future__ import annotations

import json
from collections import namedtuple
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.config import validate
from camelid_core.errors import ConfigError, DiskFull, ModelError, UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted
from camelid_train.commands import diff as diff_command
from camelid_train.commands import export as export_command
from camelid_train.commands import merge as merge_command
from camelid_train.export import export_plan, task, weight_diff
from camelid_train.export.bitsandbytes import BITSANDBYTES
from camelid_train.export.config import DiffConfig, ExportConfig
from camelid_train.export.exporter import ExportEstimate, ExportResult
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.saving import disk_space
from camelid_train.sections import EXPORTERS_ELSEWHERE
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")
FORMS = [("nf4", {"double": True}), ("nf4", {"double": False}), ("int8", {})]


def config_of(source, **settings) -> ExportConfig:
    return validate(ExportConfig, {"source": str(source), "to": {"type": "bitsandbytes", **settings}}, "the test")


@pytest.mark.parametrize(("quantization", "settings"), FORMS)
def test_bitsandbytes_is_loaded_by_transformers_alone_and_prompted_as_before(attempt, base, quantization, settings):
    run = attempt()
    config = config_of(base(), quantization=quantization, **settings)
    estimate = export_plan.check(config, export_plan.export_source(config, load_host()), run.directory)
    summary = task.export(config, run)
    assert verify_directory(run.output).manifest.parameters["export"]["quantization"] == quantization
    assert verify_directory(run.output).manifest.parameters["export"]["estimated_size"] == estimate.size
    stored = sum(path.stat().st_size for path in run.output.glob("*.safetensors"))
    assert abs(stored - estimate.size) < 0.1 * stored + 20_000
    assert summary["size"] > stored
    model, plain = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (run.output, base()))
    ids = torch.arange(3, 19)[None]
    with torch.inference_mode():
        off = (model(ids).logits - plain(ids).logits).abs().mean() / plain(ids).logits.abs().mean()
    assert 0 < off < (0.05 if quantization == "int8" else 0.5)
    assert AutoTokenizer.from_pretrained(run.output).chat_template
    assert resolve_model(str(run.output), load_host()).template == resolve_model(str(base()), load_host()).template


def test_its_time_is_that_of_the_last_one_here_in_proportion(attempt, base, home):
    """Of the same format; before the first nothing is said."""
    nf4, int8, store = config_of(base()), config_of(base(), quantization="int8"), open_store()
    resolved = export_plan.export_source(nf4, load_host())
    summary = task.export(nf4, attempt())
    assert export_plan.past_speeds(store) == {}
    for took in (99, 10):  # the last one counts
        store.submit("export", nf4.model_dump(mode="json"))
        done = store.start(store.claim("worker", 60))
        store.publish(done, lambda: home, {**summary, "source_bytes": summary["source_bytes"] / 4})
        with store.database.write() as db:
            db.execute("UPDATE job SET started = 100, ended = ? WHERE id = ?", (100 + took, done.id))
    speeds = export_plan.past_speeds(store)
    estimate = export_plan.check(nf4, resolved, home, speeds)
    assert estimate.seconds == 40.0
    assert "in about 40 s." in export_plan.announcement(estimate)
    assert export_plan.check(int8, resolved, home, speeds).seconds is None


def test_an_adapter_is_merged_first_and_the_merged_model_leaves_nothing(adapter, attempt, base, tmp_path):
    directory = adapter(base(), tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    run = attempt()
    task.export(config_of(directory), run)
    assert not (run.directory / "merged").exists()
    manifest = verify_directory(run.output).manifest
    assert manifest.kind == "model"
    assert "merge" in manifest.parameters
    assert "logit_difference" in manifest.metrics
    assert [event["step"] for event in run.events("resume")] == [0]


def test_what_cannot_fit_is_refused_before_it_starts(attempt, base, monkeypatch):
    run = attempt()
    estimates = {
        "memory": (ExportEstimate(size=1, memory=1 << 60), ModelError, "bytes of memory"),
        "disk": (ExportEstimate(size=1 << 60, memory=1), DiskFull, "Free at least"),
        "refusal": (ExportEstimate(size=1, memory=1, refusal="it has no layers."), ModelError, "it has no layers"),
    }
    for estimate, error, words in estimates.values():
        monkeypatch.setattr(BITSANDBYTES, "estimate", lambda source, section, e=estimate: e)
        with pytest.raises(error, match=words):
            task.export(config_of(base()), run)
        assert not run.output.exists()


def test_an_exporter_may_make_several_models_each_an_artefact_by_itself(attempt, base, monkeypatch):
    """What lies beside them is a card and a manifest of all."""
    run, one = attempt(), BITSANDBYTES.export

    def both(source, section, context):
        for name in ("nf4", "int8"):
            directory, own = context.output / name, section.model_copy(update={"quantization": name})
            directory.mkdir()
            context.finish(directory, own, one(source, own, replace(context, output=directory)))
        return ExportResult(parameters={"made": ["nf4", "int8"]}, parts=True)

    monkeypatch.setattr(BITSANDBYTES, "export", both)
    monkeypatch.setattr(BITSANDBYTES, "estimate", lambda *_: ExportEstimate(size=1, memory=1, note="Two of them."))
    task.export(config_of(base()), run)
    assert "Two of them." in run.events("log")[0]["text"]
    whole = verify_directory(run.output).manifest
    assert whole.parameters["export"]["made"] == ["nf4", "int8"]
    assert sorted(path.name for path in run.output.iterdir()) == ["README.md", "camelid.json", "int8", "nf4"]
    for name in ("nf4", "int8"):
        assert verify_directory(run.output / name).manifest.parameters["export"]["quantization"] == name
        assert AutoTokenizer.from_pretrained(run.output / name).chat_template
        assert resolve_model(str(run.output / name), load_host()).config["quantization_config"]


def test_a_stop_or_a_failure_leaves_no_half_result(attempt, base):
    run = attempt()
    run.stop_at = (1, "save")
    with pytest.raises(Interrupted):
        task.export(config_of(base()), run)
    assert not run.output.exists()


def test_a_quantised_model_is_not_exported_again(attempt, base, tmp_path):
    run = attempt()
    task.export(config_of(base()), run)
    with pytest.raises(ModelError, match="stored quantised"):
        task.export(config_of(run.output), attempt(job=2))


def test_a_format_that_is_not_there_says_what_to_install(monkeypatch):
    monkeypatch.setitem(EXPORTERS_ELSEWHERE, "absent", "camelid-absent")
    for kind, words in (("absent", "pip install camelid-absent"), ("onnx", "bitsandbytes"), ("", "bitsandbytes")):
        with pytest.raises(ConfigError, match=words):
            validate(ExportConfig, {"source": "x", "to": {"type": kind}}, "the test")
    with pytest.raises(ConfigError, match="quantization"):
        config_of("x", quantisation="nf4")


def test_a_job_keeps_the_section_of_its_format():
    config = config_of("model", quantization="int8")
    assert validate(ExportConfig, json.loads(json.dumps(config.model_dump(mode="json"))), "the job") == config
    assert config.default_name == "model-int8"


def test_formats_that_tasks_write_are_reached_by_the_same_command(adapter, base, home, tmp_path, monkeypatch, capsys):
    directory, started = adapter(base(), tmp_path / "adapter", target_modules=["q_proj"]), []

    def run_job(task, config, name, *models):
        started.append((task, config))
        return SimpleNamespace(summary={}, published="there", id=1)

    for module in (export_command, merge_command, diff_command):
        monkeypatch.setattr(module, "run_job", run_job)
    export_command.export(str(directory), ["dtype=float16"], to="merged", out="m")
    merge_command.merge([str(directory)], dtype="float16", out="m")
    export_command.export(str(base()), [f"base={base()}"], to="diff", out="d")
    diff_command.make_diff(str(base()), str(base()), out="d")
    assert started[0] == started[1]
    assert started[2] == started[3]
    half = sum(tensor.numel() for tensor in load_file(base() / "model.safetensors").values()) * 2
    for source, settings, to in ((directory, [], "merged"), (base(), [f"base={base()}"], "diff")):
        capsys.readouterr()
        export_command.export(str(source), [*settings, "dtype=float16"], to=to, plan=True, as_json=True)
        assert json.loads(capsys.readouterr().out)["size"] == half
    with pytest.raises(ConfigError, match="densty"):
        export_command.export(str(directory), ["densty=1"], to="merged")
    with pytest.raises(UsageError, match="--to merged or --to diff or"):
        export_command.export(str(directory))


@pytest.mark.parametrize("to", ["merged", "nf4", "diff"])
def test_a_full_disk_is_said_before_anything_is_written(adapter, attempt, base, tmp_path, monkeypatch, to):
    directory = adapter(base(), tmp_path / "adapter", target_modules=["q_proj"])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 16_100_000))
    run = attempt()
    make = {
        "merged": partial(merge, MergeConfig(adapter=str(directory))),
        "nf4": partial(task.export, config_of(directory)),
        "diff": partial(weight_diff.make, DiffConfig(base=str(base()), tuned=str(base()))),
    }
    with pytest.raises(DiskFull, match=r"needs [\d,]+ bytes and .* has 16,100,000 left. Free at least"):
        make[to](run)
    assert not run.output.exists()
    assert not (run.directory / "merged").exists()


def test_a_base_of_another_shape_is_named_by_what_does_not_fit(adapter, attempt, base, tmp_path):
    directory, wide = adapter(base(), tmp_path / "adapter", target_modules=["q_proj"]), tmp_path / "wide"
    config = AutoConfig.from_pretrained(base())
    config.hidden_size *= 2
    AutoModelForCausalLM.from_config(config).save_pretrained(wide)
    AutoTokenizer.from_pretrained(base()).save_pretrained(wide)
    words = r"lora_A.* has shape \[4, 64\], and this model takes \[4, 128\]\. It is for another base\."
    run = attempt()
    with pytest.raises(ModelError, match=words):
        merge(MergeConfig(adapter=str(directory), base_model=str(wide)), run)
    assert not run.output.exists()
