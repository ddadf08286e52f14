"""Pipelines and sweeps as groups of jobs, and who works."""

from __future__ import annotations

import pytest
from camelid_core.jobs import JobState
from camelid_core.jobs.presence import WorkerPresence
from camelid_core.machines.machine import MachineDescription, add_machine, note_machine, owner_name
from camelid_core.pipelines.pipeline_config import Step
from camelid_core.pipelines.step_jobs import StepJobs, step_of


@pytest.fixture
def queued(services):
    """Queues steps as `camelid pipeline` does."""

    def queue(name: str, *steps: Step) -> StepJobs:
        jobs = StepJobs(name, services.jobs.store, services.host.tasks, anew=True)
        for step in steps:
            jobs.queue(step)
        return jobs

    return queue


def merge(name: str, adapter: str = "x", **more) -> Step:
    return Step(task="merge", name=name, config={"adapter": adapter}, **more)


def test_a_pipeline_is_its_steps_in_order_with_what_each_needs(services, queued):
    steps = [merge("a"), merge("b", "@a"), merge("c", "@a"), merge("d", "@b", after=["c"])]
    first = queued("sums", *steps)
    assert step_of(first.jobs["b"].key) == ("sums", "b")
    services.jobs.submit("merge", {"adapter": "x"}, "sums-e")  # called like a step, and none
    services.jobs.cancel(first.jobs["a"].id)
    again = queued("sums", merge("a"))  # queued anew: the newest job stands for the step
    (group,) = services.groups.all()
    assert [(step.name, step.needs, step.depth) for step in group.steps] == [
        ("a", (), 0), ("b", ("a",), 1), ("c", ("a",), 1), ("d", ("c", "b"), 2)
    ]  # fmt: skip
    assert group.steps[0].view.job.id == again.jobs["a"].id != first.jobs["a"].id
    assert (group.name, group.is_sweep, group.running) == ("sums", False, True)


def test_a_sweep_is_compared_by_what_differs(services, queued):
    jobs = queued("rates", *(merge(f"adapter-{name}", name) for name in "xyz"))
    queued("other", merge("only"))
    for step, loss in (("adapter-y", 0.5), ("adapter-z", 0.25)):
        held = services.jobs.store.start(services.jobs.store.claim("w", 30, only=jobs.jobs[step].id))
        services.jobs.store.finish(held, JobState.SUCCEEDED, summary={"eval_loss": loss})
    group = next(each for each in services.groups.all() if each.name == "rates")
    assert group.is_sweep
    assert {step.name: (dict(step.settings), step.loss) for step in group.steps} == {
        "adapter-x": ({"adapter": "x"}, None),
        "adapter-y": ({"adapter": "y"}, 0.5),
        "adapter-z": ({"adapter": "z"}, 0.25),
    }
    assert group.best == 0.25
    assert not next(each for each in services.groups.all() if each.name == "other").is_sweep


def test_each_machine_has_the_jobs_it_runs(services):
    store = services.jobs.store
    jobs = [store.submit("merge", {}) for _ in range(3)]
    add_machine(store, "gpu-1")
    note_machine(store, "gpu-1", MachineDescription(cores=8, load=0.5))
    add_machine(store, "new-one")
    with WorkerPresence(store, "box:1:a"):
        store.claim("box:1:a", 30, only=jobs[0].id)
        store.claim("box:2:b", 30, only=jobs[1].id)  # a command in a terminal
        store.claim(owner_name("gpu-1", "s"), 30, only=jobs[2].id)
        here, joined, new = services.machines.all()
    assert (here.state, here.workers, [job.id for job in here.jobs]) == ("here", 1, [1, 2])
    assert (joined.name, joined.state, joined.load, [job.id for job in joined.jobs]) == ("gpu-1", "online", 0.5, [3])
    assert (new.name, new.state, new.jobs) == ("new-one", "new", ())
