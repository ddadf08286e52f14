"""Jobs as pages show them: progress from events, allowed actions, the end of the log."""

from __future__ import annotations

import pytest
from camelid_core.errors import JobError, UsageError
from camelid_core.events import EventLog
from camelid_core.jobs import JobState
from camelid_core.jobs.run_directories import EVENTS, LOG, attempt_directory
from camelid_core.jobs.search import JobFilter
from camelid_train.export.merge_config import MergeConfig
from camelid_ui.i18n import Translator
from camelid_ui.services.jobs import WAITING
from camelid_ui.testing import open_services
from camelid_ui.views.job import JobDetails, details
from hypothesis import given, settings
from hypothesis import strategies as st


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
    assert (view.running, view.allowed_actions, view.share) == (True, {"cancel", "pause", "move"}, 0.0)
    assert services.jobs.count_running() == 1


def test_progress_is_the_last_event_of_the_newest_attempt(services):
    hidden_box, directory = begin(services, submitted(services))
    log = EventLog(directory / EVENTS)
    log.emit("progress", done=1, total=4, unit="steps", eta=9.0)
    assert services.jobs.show(hidden_box.id).share == 0.25
    log.emit("progress", done=2, total=4, unit="steps", eta=6.0, tokens_per_second=100.0)
    view = services.jobs.show(hidden_box.id)
    assert (view.done, view.total, view.eta, view.rate) == (2, 4, 6.0, 100.0)
    assert view.allowed_actions == {"cancel", "pause", "finish"}
    log.close()


def test_a_requested_action_is_not_offered_again(services):
    hidden_box, _ = begin(services, submitted(services))
    services.jobs.finish(hidden_box.id)
    assert services.jobs.show(hidden_box.id).allowed_actions == {"cancel", "pause"}
    services.jobs.pause(hidden_box.id)
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


def test_the_queue_is_shown_as_it_goes(services):
    jobs = [submitted(services, f"j{number}") for number in range(5)]
    begin(services, jobs[1])
    services.jobs.cancel(jobs[0].id)
    services.jobs.move(jobs[4].id, -2)
    found = services.jobs.queue(JobFilter())
    assert [[view.job.id for view in part.views] for part in (found.running, found.waiting, found.ended)] == [
        [2], [5, 3, 4], [1]
    ]  # fmt: skip
    few = services.jobs.queue(JobFilter(WAITING), most=2)
    assert ([view.job.id for view in few.waiting.views], few.waiting.total, few.total) == ([5, 3], 3, 3)
    assert services.jobs.queue(JobFilter(text="nothing like it")).total == 0
    assert services.jobs.tasks() == ["merge"]


def test_what_ended_since_a_time_has_failures_first(services):
    jobs = [submitted(services) for _ in range(3)]
    for job, state in zip(jobs, (JobState.FAILED, JobState.SUCCEEDED, JobState.SUCCEEDED), strict=True):
        services.jobs.store.finish(begin(services, job)[0], state)
    ends = {job.id: services.jobs.store.get(job.id).ended for job in jobs}
    assert [view.job.id for view in services.jobs.ended_since(0)] == [1, 3, 2]
    assert [view.job.id for view in services.jobs.ended_since(ends[2])] == [3]


def test_what_a_job_needs_and_who_needs_it(services):
    store = services.jobs.store
    first, second = store.submit("merge", {}), store.submit("merge", {})
    last = store.submit("merge", {}, depends_on=[first.id, second.id])
    assert services.jobs.related(last) == ([first, second], [])
    assert services.jobs.related(first) == ([], [last])


def test_a_run_on_several_nodes_names_them_and_is_asked_as_one(services):
    store, address = services.jobs.store, {"host": "10.0.0.1", "port": 20_001, "network": "a"}
    job = services.jobs.submit("merge", {"launch": {"nodes": 2}})
    assert "2 workers at the same time" in services.jobs.show(job.id).waits
    store.claim("w0", 60, address=address)
    assert services.jobs.show(job.id).waits == "1 more of its 2 workers"
    member = store.claim("w1", 60, address=address)
    leader = services.jobs.show(job.id)
    assert services.jobs.nodes(leader.job) == [member]
    assert "cancel" in leader.allowed_actions
    assert services.jobs.show(member.id).allowed_actions == frozenset()
    shown = details(JobDetails(leader, nodes=[member]), Translator("en"))
    assert "node 1" in shown
    assert f"{member.id}" in shown.partition("Other nodes")[2]
    assert services.jobs.all() == [leader]


@settings(max_examples=25)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=3))
def test_a_log_read_as_it_grows_is_the_log(log_of_a_job, pieces):
    """However it is cut off, in the middle of a character too."""
    services, job, path = log_of_a_job
    data, read, attempt, end = "".join(pieces).encode(), "", job.epoch, 0
    path.write_bytes(b"")
    for cut in sorted({*range(0, len(data), 5), len(data)}):
        path.write_bytes(data[:cut])
        part = services.jobs.log_part(job.id, attempt, end)
        assert (part.start, part.attempt) == (end, attempt)
        read, end = read + part.text, part.end
    assert read.encode() == data
    assert services.jobs.log_part(job.id, attempt, end).text == ""


@pytest.fixture(scope="module")
def log_of_a_job(tmp_path_factory, module_services):
    job, directory = begin(module_services, submitted(module_services))
    return module_services, job, directory / LOG


@pytest.fixture(scope="module")
def module_services(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("log") / "home"
        patch.setenv("CAMELID_HOME", str(home))
        yield open_services(home)


def test_a_long_log_begins_near_its_end_and_a_new_attempt_anew(services):
    job, directory = begin(services, submitted(services))
    (directory / LOG).write_text("\n".join(f"line {n}" for n in range(50_000)))
    part = services.jobs.log_part(job.id, 0, 0)
    assert part.text.startswith("line ")
    assert (directory / LOG).read_text().endswith(part.text)
    assert (len(part.text) <= 64_000, part.start > 0, part.ended) == (True, True, False)
    services.jobs.store.finish(job, JobState.FAILED)
    assert services.jobs.log_part(job.id, part.attempt, part.end).ended
    services.jobs.retry(job.id)
    job, directory = begin(services, job)
    (directory / LOG).write_text("anew\n")
    again = services.jobs.log_part(job.id, part.attempt, part.end)
    assert (again.attempt, again.start, again.text) == (2, 0, "anew\n")
