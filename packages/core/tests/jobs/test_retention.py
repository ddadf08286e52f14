"""Retention: what may go goes with all its files, and nothing that somebody may still want."""

from __future__ import annotations

import json
import time

import pytest
from camelid_core.commands.jobs import app
from camelid_core.errors import UsageError
from camelid_core.jobs.job import JobState
from camelid_core.jobs.retention import IdleRetention, Retained, prunable, prune
from camelid_core.jobs.run_directories import attempt_directory
from typer.testing import CliRunner

DAY = 86400.0
EVERYTHING = Retained(keep_last=0)


@pytest.fixture
def ended(store, home):
    """Submit a job and end it so many days ago, with a checkpoint of a megabyte."""

    def end(state=JobState.FAILED, days=0.0, depends_on=(), **config):
        job = store.submit("tick", config, depends_on=depends_on)
        held = store.start(store.claim("w", 60.0, only=job.id))
        directory = attempt_directory(home, job.id, 1)
        directory.mkdir(parents=True)
        (directory / "checkpoint").write_bytes(b"x" * 1_000_000)
        store.finish(held, state)
        with store.database.write() as db:
            db.execute("UPDATE job SET ended = ? WHERE id = ?", (time.time() - days * DAY, job.id))
        return job.id

    return end


def ids(found):
    return [each.job.id for each in found]


def test_the_old_and_all_but_the_newest(store, ended):
    jobs = [ended(days=days) for days in (40, 1, 30, 20)]
    assert ids(prunable(store, Retained(seconds=10 * DAY))) == [jobs[0], jobs[2], jobs[3]]
    assert ids(prunable(store, Retained(keep_last=3))) == [jobs[0]]
    assert ids(prunable(store, Retained(seconds=25 * DAY, keep_last=3))) == [jobs[0]]
    assert ids(prunable(store, EVERYTHING)) == [jobs[0], jobs[2], jobs[3], jobs[1]]


def test_what_somebody_may_want_stays(store, home, ended):
    first = ended(JobState.SUCCEEDED)
    middle = ended(JobState.FAILED, depends_on=[first])
    paused = ended(JobState.PAUSED)
    kept = ended(JobState.FAILED)
    result = {"how": "succeeded", "message": "", "kind": "", "summary": {}, "publish_to": None}
    (attempt_directory(home, kept, 1) / "result.json").write_text(json.dumps(result))
    from_it = ended(JobState.CANCELLED)
    store.submit("tick", {"start_from": str(attempt_directory(home, from_it, 1) / "checkpoint")})
    free = ended(JobState.CANCELLED)
    assert ids(prunable(store, EVERYTHING)) == [middle, free]
    assert ids(prunable(store, Retained(paused=False, unpublished=False))) == [middle, paused, kept, free]


def test_it_goes_with_its_files_and_what_it_published_stays(store, worker, home, ended):
    published = worker.run_job(store.submit("tick", {"count": 1}, "mine").id)
    old = ended()
    found = prunable(store, EVERYTHING)
    assert [each.size >= 1_000_000 for each in found] == [False, True]
    raced = store.retry(old)
    assert ids(prune(store, found)) == [published.id], "a job that was retried meanwhile stays"
    assert [path.name for path in (home / "runs").iterdir()] == [f"{raced.id:06d}"]
    assert (home / "artefacts" / "mine" / "ticks.json").exists()
    assert [job.id for job in store.list()] == [old]


def test_the_command_says_what_it_would_do_and_does_it(store, home, ended):
    def told(*arguments):
        return CliRunner().invoke(app, ["prune", *arguments], catch_exceptions=True)

    ended(days=40)
    for wrong in ((), ("--older-than", "soon")):
        assert isinstance(told(*wrong).exception, UsageError)
    assert "1 jobs would be deleted, and 1.0 MB be freed." in told("--older-than", "30d", "--dry-run").output
    assert len(store.list()) == 1
    assert [row["id"] for row in json.loads(told("--older-than", "30d", "--json").output)] == ["1"]
    assert store.list() == []
    assert list((home / "runs").iterdir()) == []


def test_a_worker_deletes_only_where_the_settings_say_so_and_not_all_the_time(store, home, ended):
    ended(days=40)
    retention = IdleRetention(store)
    assert retention() == []
    (home / "jobs.toml").write_text("retention.older_than = '30d'\n")
    assert ids(retention()) == [1]
    ended(days=40)
    assert retention() == []
