"""What can be made of a model: offers with estimates and reasons, jobs, and the same as command lines."""

from __future__ import annotations

import shlex
import shutil

import pytest
from camelid_core.artefacts import Manifest, write_manifest
from camelid_core.config import parse_overrides, validate
from camelid_core.errors import CamelidError, ModelError, UnknownName, UsageError
from camelid_train.export import export_plan
from camelid_train.export.bitsandbytes import BITSANDBYTES
from camelid_train.export.config import ExportConfig
from camelid_train.export.exporter import ExportEstimate


def keys(offers) -> list[str]:
    return [offer.key for offer in offers]


def test_an_adapter_can_be_merged_too_and_a_model_cannot(services, adapter, tiny):
    of_adapter, of_model = services.exports.offers(adapter), services.exports.offers(tiny.name)
    assert keys(of_adapter)[0] == "merged"
    assert "merged" not in keys(of_model)
    assert {"nf4", "int8"} <= set(keys(of_model)) <= set(keys(of_adapter))
    assert len(set(keys(of_adapter))) == len(of_adapter)
    assert all(offer.size and offer.memory for offer in of_adapter if not offer.refusal)
    assert {adapter, tiny.name} <= set(services.exports.sources())
    with pytest.raises(UnknownName):
        services.exports.offers("nobody")


def test_what_cannot_be_made_here_is_there_with_its_reason_and_is_not_queued(services, tiny, monkeypatch):
    monkeypatch.setattr(BITSANDBYTES, "estimate", lambda source, section: ExportEstimate(size=1, memory=1 << 60))
    offer = next(offer for offer in services.exports.offers(tiny.name) if offer.key == "nf4")
    assert "bytes of memory" in offer.refusal
    with pytest.raises(ModelError, match="bytes of memory"):
        services.exports.start(tiny.name, ["nf4"])
    assert services.exports.all() == []


def test_several_formats_are_a_job_each(services, adapter):
    jobs = services.exports.start(adapter, ["merged", "nf4", "int8"])
    assert [job.task for job in jobs] == ["merge", "export", "export"]
    assert [job.name for job in jobs[1:]] == [f"{adapter}-nf4", f"{adapter}-int8"]
    assert [view.job.id for view in services.exports.all()] == sorted((job.id for job in jobs), reverse=True)
    for chosen, words in (([], "at least one"), (["onnx"], "'onnx' is not offered")):
        with pytest.raises(UsageError, match=words):
            services.exports.start(adapter, chosen)


def test_the_command_lines_say_the_same(services, adapter):
    offered = [key for key in keys(services.exports.offers(adapter)) if key != "merged"]
    lines = services.exports.command(adapter, ["merged", *offered]).splitlines()
    assert lines[0] == f"camelid merge {adapter}"
    for key, line in zip(offered, lines[1:], strict=True):
        program, command, source, flag, kind, *settings = shlex.split(line)
        assert (program, command, source, flag) == ("camelid", "export", adapter, "--to")
        values = {"source": source, "to": parse_overrides(settings) | {"type": kind}}
        config = validate(ExportConfig, values, "the test")
        assert config.default_name == f"{adapter}-{key}"


def _published(services, tiny):
    """A job that made a model: a copy of the tiny one, as a worker would publish it."""
    (job,) = services.exports.start(tiny.name, ["int8"])
    place = services.home / "artefacts" / job.name
    shutil.copytree(tiny, place)
    write_manifest(place, Manifest(kind="model", parameters={"export": {"type": "bitsandbytes"}}))
    store = services.jobs.store
    claimed = store.claim("worker", 60, only=job.id)
    assert claimed is not None
    return store.publish(store.start(claimed), lambda: place, {"size": 1})


def test_what_was_made_can_be_proved_and_published(services, tiny, tmp_path):
    with pytest.raises(UsageError, match="made no model"):
        services.exports.prove(services.exports.start(tiny.name, ["nf4"])[0].id)
    job = _published(services, tiny)
    proof = services.exports.prove(job.id)
    assert (proof.task, proof.config["source"], proof.config["export"]) == ("prove", tiny.name, str(job.published))
    planned = services.exports.publication(job.id, str(tmp_path / "hub"), "me/tiny-int8")
    assert planned.repositories == ["me/tiny-int8"]
    assert not (tmp_path / "hub").exists()  # a plan writes nothing
    assert services.exports.publish(job.id, str(tmp_path / "hub"), "me/tiny-int8").task == "publish"
    for name in ("no name", "../me/tiny"):
        with pytest.raises(CamelidError, match="ORG/NAME"):
            services.exports.publish(job.id, str(tmp_path / "hub"), name)


def test_nothing_is_queued_for_the_hub_without_a_token_that_a_job_gets(services, tiny, tmp_path, monkeypatch):
    """The page's own HF_TOKEN would let it ask the Hub, and then the job could not write."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_page")
    job = _published(services, tiny)
    for refused in (services.exports.publication, services.exports.publish):
        with pytest.raises(UsageError, match=r"hf auth login.*HF_TOKEN is not passed on"):
            refused(job.id, "hf", "me/tiny-int8")
    assert not services.jobs.all("publish", 5)
    (tmp_path / "token").write_text("hf_kept")
    queued = services.exports.publish(job.id, "hf", "me/tiny-int8")
    assert "hf_" not in str(queued.config)


def test_the_page_queues_what_the_task_runs(services, tiny, tmp_path):
    (job,) = services.exports.start(tiny.name, ["int8"])
    config = validate(ExportConfig, job.config, "the job")
    assert export_plan.check(config, export_plan.export_source(config, services.host), tmp_path).size > 0
