"""Deleting a job: only one that has ended, with all that is its own, and nothing that others use."""

from __future__ import annotations

from pathlib import Path

import pytest
from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
from camelid_core.commands import jobs as commands
from camelid_core.errors import JobError
from camelid_core.jobs.deletion import delete, users_of
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.store import JobStore
from typer.testing import CliRunner


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path))
    return JobStore(tmp_path / "jobs.sqlite3")


def artefact(home: Path, name: str, base: BaseModelEntry | None = None) -> Path:
    directory = home / "artefacts" / name
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text("{}")
    write_manifest(directory, Manifest(kind="adapter", base=base))
    return directory


def begun(store: JobStore, name: str = "mine") -> Job:
    job = store.submit("tick", {"count": 1}, name)
    held = store.start(store.claim("w", 30.0, only=job.id))
    directory = attempt_directory(store.path.parent, job.id, held.epoch)
    (directory / "checkpoints").mkdir(parents=True)
    return held


def done(store: JobStore, name: str = "mine") -> Job:
    path = artefact(store.path.parent, name)
    return store.publish(begun(store, name), lambda: path, {})


def test_what_waits_or_runs_is_not_deleted(store):
    waiting = store.submit("tick", {})
    running = begun(store)
    for job in (waiting, running):
        with pytest.raises(JobError, match="only jobs that have ended"):
            delete(store, job.id)
        assert store.get(job.id) == job
    assert attempt_directory(store.path.parent, running.id, running.epoch).is_dir()


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.PAUSED])
def test_an_ended_job_goes_with_its_directory_and_its_number(store, state):
    job = store.finish(begun(store), state)
    delete(store, job.id)
    assert store.list() == []
    assert list((store.path.parent / "runs").iterdir()) == []
    assert store.submit("tick", {}).id > job.id
    with pytest.raises(JobError, match="no job"):
        delete(store, job.id)


def test_the_result_goes_only_where_asked(store):
    kept, gone = done(store, "kept"), done(store, "gone")
    delete(store, kept.id)
    delete(store, gone.id, result=True)
    assert [path.name for path in (store.path.parent / "artefacts").iterdir()] == ["kept"]


def test_a_result_that_others_use_stays_and_so_does_the_job(store):
    job = done(store)
    merged = artefact(store.path.parent, "merged", BaseModelEntry(id="mine", path=job.published))
    waiting = store.submit("merge", {"adapter": "mine"})
    assert users_of(store, job) == ["artefact 'merged'", f"job {waiting.id}"]
    with pytest.raises(JobError, match="artefact 'merged', job 2; nothing was deleted"):
        delete(store, job.id, result=True)
    assert Path(job.published).is_dir()
    assert merged.is_dir()
    assert store.get(job.id) == job


def test_a_result_that_was_replaced_is_not_ours(store):
    first = done(store)
    store.publish(begun(store, "again"), lambda: Path(first.published), {})
    with pytest.raises(JobError, match="published there"):
        delete(store, first.id, result=True)
    (Path(first.published) / "camelid.json").unlink()
    with pytest.raises(JobError, match="no artefact any more"):
        delete(store, first.id, result=True)


def test_a_table_that_refuses_leaves_everything_in_place(store, monkeypatch):
    job = done(store)

    def refuse(job_id, clear):
        clear()
        raise JobError("locked")

    monkeypatch.setattr(store, "delete", refuse)
    with pytest.raises(JobError, match="locked"):
        delete(store, job.id, result=True)
    assert Path(job.published).is_dir()
    assert attempt_directory(store.path.parent, job.id, job.epoch).is_dir()


def test_the_command_asks_back(store):
    job = done(store)
    run = CliRunner().invoke
    assert run(commands.app, ["delete", str(job.id)], input="n\n").exit_code == 1
    assert store.get(job.id) == job
    said = run(commands.app, ["delete", str(job.id), "--result"], input="y\n")
    assert f"Delete mine and its result {job.published}?" in said.output
    assert "was deleted" in said.output
    assert store.list() == []
