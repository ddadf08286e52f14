"""Pipelines: in order, each step once, resumed where they failed, and done anew from where they were changed."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest
from camelid_core.errors import ConfigError, UnknownName, UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import JobState
from camelid_core.jobs.start_time import start_time
from camelid_core.pipelines.pipeline_config import Step, needed_by, read_pipeline, with_results
from camelid_core.pipelines.run_here import run_here
from camelid_core.pipelines.step_jobs import StepJobs
from camelid_core.plugins import load_host

HERE = Path(__file__).parent / "jobs"


@pytest.fixture
def ticks(home, monkeypatch):
    """Programs that are started from here know the task `tick`."""
    path = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("CAMELID_PLUGINS", "ticks_plugin==1=ticks_plugin")
    load_host.cache_clear()
    yield home
    load_host.cache_clear()


def written(directory: Path, *steps: dict, name: str = "run") -> Path:
    path = directory / "pipeline.json"
    path.write_text(json.dumps({"name": name, "steps": steps}))
    return path


def step(name: str, **config) -> dict:
    return {"task": "tick", "name": name, "config": config}


def test_references_are_found_wherever_they_stand_and_nothing_else_is():
    values = {"a": "@one", "b": ["x", "@two/main"], "c": {"d": "@@at", "e": "me@one", "f": 3, "g": "@ one"}}
    seen = []
    found = with_results(values, lambda name: seen.append(name) or f"/{name}")
    assert found == {"a": "/one", "b": ["x", "/two/main"], "c": {"d": "@at", "e": "me@one", "f": 3, "g": "@ one"}}
    assert seen == ["one", "two"]


def test_a_file_is_read_with_its_steps_own_files_and_overrides(tmp_path):
    (tmp_path / "ticks.toml").write_text("count = 5\nseconds = 0.5\n")
    first = {"task": "tick", "config": "ticks.toml", "set": ["seconds=0"]}
    path = written(tmp_path, first, {"task": "tick", "name": "next", "config": {"output": "@tick"}, "after": ["tick"]})
    found = read_pipeline(path, ["next.count=7"])
    assert [each.config for each in found.steps] == [{"count": 5, "seconds": 0}, {"output": "@tick", "count": 7}]
    assert needed_by(found.steps[1]) == ["tick"]


@pytest.mark.parametrize(
    ("steps", "overrides", "error", "words"),
    [
        ([], (), ConfigError, "at least 1"),
        ([step("a"), step("a")], (), ConfigError, "two steps are called 'a'"),
        ([step("a b")], (), UsageError, "a b"),
        ([step("a", output="@b"), step("b")], (), UnknownName, "step before it 'b' is not known"),
        ([step("a", output="@a")], (), UnknownName, "step before it 'a'"),
        ([step("a")], ("b.count=1",), ConfigError, "'b.count=1' names no step; write STEP.field=value, STEP one of a"),
        ([{"task": "tick", "config": "no.toml"}], (), ConfigError, "no.toml"),
        ([{"name": "a"}], (), ConfigError, "task"),
    ],
)
def test_what_does_not_fit_is_a_sentence(tmp_path, steps, overrides, error, words):
    with pytest.raises(error, match=words):
        read_pipeline(written(tmp_path, *steps), overrides)


def test_steps_run_in_order_and_again_only_where_something_is_to_do(ticks, camelid, tmp_path):
    """Of three steps the second fails: the third does not run. Mended by an override, the first is not done again."""
    path = written(tmp_path, step("one"), step("two", then="bad data"), {**step("three"), "after": ["two"]})
    done = camelid("pipeline", str(path), "--json")
    assert done.code == 1
    assert "Step 'two' (job 2) failed: Row 3 is bad; mend it." in done.err
    assert [row["state"] for row in done.json] == ["succeeded", "failed", "not run"]
    first = Path(done.json[0]["outcome"])
    assert first.name == "run-one"
    mended = camelid("pipeline", str(path), "two.then=", "--json")
    assert [(row["job"], row["state"]) for row in mended.json] == [
        ("1", "succeeded"), ("3", "succeeded"), ("4", "succeeded"),
    ]  # fmt: skip
    assert "one: job 1 is done" in mended.err
    once_more = camelid("pipeline", str(path), "two.then=", "--json")
    assert once_more.json == mended.json
    anew = camelid("pipeline", str(path), "two.then=", "--again", "--json")
    assert [row["job"] for row in anew.json] == ["5", "6", "7"]
    assert Path(anew.json[0]["outcome"]).name == "run-one-2"


@pytest.mark.parametrize("how", [(), ("--detach",)])
@pytest.mark.parametrize("last", [step("two", cuont=1), {"task": "tikc", "name": "two"}])
def test_a_typing_error_in_the_last_step_is_found_before_the_first_begins(ticks, camelid, tmp_path, last, how):
    done = camelid("pipeline", str(written(tmp_path, step("one"), last)), *how)
    assert done.code == 2
    assert ("cuont" if last["task"] == "tick" else "tikc") in done.err
    assert open_store().list() == []


def test_a_failed_step_goes_on_as_the_same_job(ticks, camelid, tmp_path):
    """Here the place for its result was occupied. A place that the file names is kept."""
    place = tmp_path / "place"
    place.write_text("occupied")
    path = written(tmp_path, step("one"), step("two", output=str(place)))
    failed = camelid("pipeline", str(path), "--json")
    assert [row["state"] for row in failed.json] == ["succeeded", "failed"]
    assert "exists already" in failed.err
    place.unlink()
    assert [(row["job"], row["state"]) for row in camelid("pipeline", str(path), "--json").json] == [
        ("1", "succeeded"), ("2", "succeeded"),
    ]  # fmt: skip
    assert (place / "ticks.json").is_file()


def test_a_step_uses_what_another_made(ticks, camelid, tmp_path):
    """It is named by its place from the start, so that a queued job says what it will be made of."""
    path = written(tmp_path, step("one"), step("two", output="@one/inside"))
    rows = camelid("pipeline", str(path), "--json").json
    assert rows[1]["outcome"] == f"{rows[0]['outcome']}/inside"
    assert open_store().get(2).depends_on == (1,)


def test_a_step_that_another_worker_takes_first_is_waited_for(ticks):
    """Between its being queued and its being run here: a job that was there before is held for nobody."""
    store = open_store()
    jobs = StepJobs("run", store, load_host().tasks)

    def taken(step, job):
        store.finish(store.start(store.claim("other", 60, only=job.id)), JobState.SUCCEEDED, summary={"by": "other"})

    (found,) = run_here([Step(task="tick", name="one")], jobs, taken, lambda event: None)
    assert (found[1].state, found[1].summary) == (JobState.SUCCEEDED, {"by": "other"})


def test_jobs_of_a_plugin_that_is_gone_harm_no_pipeline(ticks):
    store = open_store()
    store.submit("of a plugin that is gone", {"output": "x"})
    jobs = StepJobs("run", store, load_host().tasks)
    assert jobs.queue(Step(task="tick", name="one")).config["output"].endswith("/run-one")
    other = StepJobs("run", store, load_host().tasks)
    assert other.queue(Step(task="tick", name="one", config={"count": 9})).config["output"].endswith("/run-one-2")


def test_a_name_that_is_too_long_for_a_job_is_said_before_anything_is_queued(ticks):
    jobs = StepJobs("n" * 40, open_store(), load_host().tasks)
    with pytest.raises(UsageError, match="name of pipeline and step"):
        jobs.check([Step(task="tick", name="s" * 40)])


def test_queued_steps_wait_for_those_they_need(ticks, camelid, tmp_path):
    path = written(tmp_path, step("one"), step("two"), {**step("three"), "after": ["one", "two"]})
    rows = camelid("pipeline", str(path), "--detach", "--priority", "3", "--not-before", "+2h", "--json").json
    assert [row["state"] for row in rows] == ["queued"] * 3
    assert rows[2]["outcome"].startswith("after job 1 (queued); after job 2 (queued); not before ")
    store = open_store()
    assert [(job.priority, job.depends_on) for job in reversed(store.list())] == [(3, ()), (3, ()), (3, (1, 2))]
    assert camelid("pipeline", str(path), "--detach", "--json").json == rows
    assert len(store.list()) == 3
    waiting = camelid("jobs", "retry", "3", "--here")
    assert "Job 3 is queued, after job 1 (queued); after job 2 (queued)." in waiting.err


def test_a_result_that_is_gone_is_made_again(ticks, camelid, tmp_path):
    import shutil

    path = written(tmp_path, step("one"), step("two", then=""))
    first = camelid("pipeline", str(path), "--json").json
    shutil.rmtree(first[0]["outcome"])
    again = camelid("pipeline", str(path), "--json").json
    assert [row["job"] for row in again] == ["3", "2"]
    assert Path(again[0]["outcome"]).is_dir()


def test_jobs_are_paused_resumed_and_prioritised(ticks, camelid):
    store = open_store()
    job = store.submit("tick", {})
    assert "Job 1 has priority 4." in camelid("jobs", "priority", "1", "4").out
    assert "Job 1 is paused." in camelid("jobs", "pause", "1").out
    assert store.get(job.id).state == JobState.PAUSED
    assert "Job 1 is queued." in camelid("jobs", "resume", "1").out
    assert "Job 1 is queued, not paused" in camelid("jobs", "resume", "1").err


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("22:00", "2026-11-30T22:00"),
        ("6:30", "2026-12-01T06:30"),
        ("+2h", "2026-11-30T14:00"),
        ("+90m", "2026-11-30T13:30"),
        ("2026-12-24T18:00", "2026-12-24T18:00"),
    ],
)
def test_times_are_read_as_people_write_them(text, meant):
    now = datetime.fromisoformat("2026-11-30T12:00").astimezone()
    assert start_time(text, now) == datetime.fromisoformat(meant).astimezone().timestamp()


@pytest.mark.parametrize(
    ("text", "words"), [("soon", "is no time"), ("25:00", "is no time"), ("2020-01-01T00:00", "has passed")]
)
def test_what_is_no_time_is_said(text, words):
    with pytest.raises(UsageError, match=words):
        start_time(text)
