"""Jobs that are tried again by themselves, and those that are not; limits on how many there may be."""

from __future__ import annotations

import pytest
from camelid_core.errors import ConfigError, JobError
from camelid_core.jobs.job import JobState
from camelid_core.jobs.retry_policy import retries_after
from camelid_core.jobs.start_conditions import waits_for


def until_ended(store, worker, job_id, until):
    """Run it as a worker does, however often it is queued again."""
    while store.get(job_id).state not in (JobState.FAILED, JobState.SUCCEEDED, JobState.PAUSED):
        until(worker.run_once)
    return store.get(job_id)


@pytest.mark.parametrize(
    ("then", "kind", "attempts"),
    [
        ("kill", "killed_by_signal_9", 2),
        ("signal 11", "killed_by_signal_11", 2),
        ("accelerator", "accelerator", 2),
        ("memory", "out_of_memory", 1),
        ("crash", "crash", 1),
        ("bad data", "data_error", 1),
    ],
)
def test_only_what_another_attempt_may_mend_is_tried_again(store, worker, until, then, kind, attempts):
    job = until_ended(store, worker, store.submit("tick", {"then": then, "count": 1}).id, until)
    assert (job.state, job.error_kind, job.epoch) == (JobState.FAILED, kind, attempts)


def test_a_second_attempt_goes_on_and_succeeds_and_until_then_says_which_it_is(store, worker, until):
    store._backoff = (3600.0,)
    job_id = store.submit("tick", {"then": "signal 9 once", "count": 3}).id
    waiting = worker.run_once()
    assert (waiting.state, waiting.error_kind, waiting.retries) == (JobState.QUEUED, "killed_by_signal_9", 1)
    assert waits_for(store, waiting).startswith("attempt 2 of 2, next try in 3")
    assert worker.run_once() is None, "it was begun before its time"
    with store.database.write() as db:
        db.execute("UPDATE job SET not_before = 0 WHERE id = ?", (job_id,))
    assert waits_for(store, store.get(job_id)) == "attempt 2 of 2, next try at once"
    done = until_ended(store, worker, job_id, until)
    assert (done.state, done.summary["first"], done.error) == (JobState.SUCCEEDED, 3, "")


def test_a_person_who_watches_decides_alone(store, worker):
    job = worker.run_job(store.submit("tick", {"then": "kill", "count": 1}).id)
    assert (job.state, job.error_kind, job.retries) == (JobState.FAILED, "killed_by_signal_9", 0)


def test_what_was_asked_meanwhile_outranks_another_attempt(store):
    job = store.start(store.claim("w", 60)) if store.submit("tick", {}) else None
    store.request(job.id, "pause")
    assert store.try_again(job, "It broke.", "accelerator").state == JobState.PAUSED


def test_a_lack_of_disk_memory_or_numbers_is_never_tried_again():
    for kind in ("disk_full", "out_of_memory", "nan_loss", "config_error", "usage_error", "job_error", ""):
        assert retries_after(kind) == 0


# -- limits


def test_as_many_jobs_as_the_settings_allow_and_no_more(store, home):
    (home / "jobs.toml").write_text("limits.queued = 3\nper_user.queued = 2\n")
    first = store.submit("tick", {}, user="ann", key="k")
    store.submit("tick", {}, user="ann")
    with pytest.raises(JobError, match=r"2 jobs of user 'ann' wait or run, and jobs.toml .* allows 2 \(\[per_user\]"):
        store.submit("tick", {}, user="ann")
    assert store.submit("tick", {}, user="ann", key="k") == first, "the same click is no further job"
    store.submit("tick", {}, user="bob")
    with pytest.raises(JobError, match=r"3 jobs wait or run, and jobs.toml .* allows 3 \(\[limits\] queued\)"):
        store.submit("tick", {}, user="eve")
    store.request(first.id, "cancel")
    assert store.submit("tick", {}, user="ann").user == "ann"


def test_a_user_who_runs_as_many_as_allowed_lets_others_pass_and_all_together_have_a_limit(store, home):
    (home / "jobs.toml").write_text("per_user.running = 1\nlimits.running = 2\n")
    ann, again, bob, eve = (store.submit("tick", {}, user=name).id for name in ("ann", "ann", "bob", "eve"))
    assert [job and job.id for job in (store.claim("w", 60) for _ in range(3))] == [ann, bob, None]
    store.finish(store.start(store.get(bob)), JobState.FAILED)
    assert store.claim("w", 60).id == eve
    store.finish(store.start(store.get(ann)), JobState.FAILED)
    assert store.claim("w", 60).id == again


@pytest.mark.parametrize("text", ["limits.queued = 0", "limits.queue = 3", "limits = [", "retention.older_than = 'x'"])
def test_settings_that_cannot_be_read_are_told_and_nothing_is_queued(store, home, text):
    (home / "jobs.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"jobs\.toml"):
        store.submit("tick", {})
    assert store.list() == []
