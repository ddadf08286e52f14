"""Jobs as pages show them: progress from events, allowed actions, the end of the log."""

from __future__ import annotations

import pytest
from camelid_core.errors import JobError, UsageError
from camelid_core.events import EventLog
from camelid_core.jobs import JobState
from camelid_core.jobs.run_directories import EVENTS, LOG, attempt_directory
from camelid_train.export.merge_config import MergeConfig


def begin(services, job):
    """What a worker does first; returns the held job and its directory."""
    hidden_box = services.jobs.store.start(services.jobs.store.claim("w", 30.0, only=job.id))
    directory = attempt_directory(services.home, hidden_box.id, hidden_box.epoch)
    directory.mkdir(parents=True)
    return hidden_box, directory


def submitted(services, name=""):
    return services.jobs.submit("merge", MergeConfig(adapter="x"), name)


def test_a_job_is_queued_and_a_worker_woken(services):
    woken = []
    services.jobs.wake = lambda: woken.append(1)
    job = submitted(services, "first")
    assert woken == [1]
    view = services.jobs.show(job.id)
    assert (view.running, view.allowed_actions, view.share) == (True, {"cancel"}, 0.0)
    assert services.jobs.count_running() == 1


def test_progress_is_the_last_event_of_the_newest_attempt(services):
    hidden_box, directory = begin(services, submitted(services))
    log = EventLog(directory / EVENTS)
    log.emit("progress", done=1, total=4, unit="steps", eta=9.0)
    assert services.jobs.show(hidden_box.id).share == 0.25
    log.emit("progress", done=2, total=4, unit="steps", eta=6.0, tokens_per_second=100.0)
    view = services.jobs.show(hidden_box.id)
    assert (view.done, view.total, view.eta, view.rate) == (2, 4, 6.0, 100.0)
    assert view.allowed_actions == {"cancel", "finish"}
    log.close()


def test_a_requested_action_is_not_offered_again(services):
    hidden_box, _ = begin(services, submitted(services))
    services.jobs.finish(hidden_box.id)
    assert services.jobs.show(hidden_box.id).allowed_actions == {"cancel"}
    services.jobs.cancel(hidden_box.id)
    assert services.jobs.show(hidden_box.id).allowed_actions == frozenset()


def test_an_ended_job_can_be_retried_unless_it_succeeded(services):
    job = submitted(services)
    services.jobs.cancel(job.id)
    assert services.jobs.show(job.id).allowed_actions == {"retry"}
    services.jobs.retry(job.id)
    hidden_box, _ = begin(services, job)
    services.jobs.store.finish(hidden_box, JobState.SUCCEEDED)
    assert services.jobs.show(job.id).allowed_actions == frozenset()
    with pytest.raises(JobError):
        services.jobs.retry(job.id)


def test_the_log_is_its_end(services):
    hidden_box, directory = begin(services, submitted(services))
    (directory / LOG).write_text("\n".join(f"line {n}" for n in range(50_000)))
    text = services.jobs.log(hidden_box.id)
    assert text.endswith("line 49999")
    assert len(text) <= 64_000


def test_names_and_numbers_that_are_not(services):
    with pytest.raises(UsageError):
        submitted(services, "../x")
    with pytest.raises(JobError, match="no job 9"):
        services.jobs.show(9)
