"""Admission: a machine's running jobs never exceed it, the queue's order holds, and nothing waits for ever."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from camelid_core.errors import UsageError
from camelid_core.jobs.admission import Waiting, assign, assign_anyway, choose, never_fits
from camelid_core.jobs.resources import Assignment, Gpu, Needs, Resources
from hypothesis import given
from hypothesis import strategies as st

GB = 10**9
CARDS = (Gpu("a", "A", 24 * GB), Gpu("b", "B", 80 * GB), Gpu("odd", "shares the machine's memory", 0))

sizes = st.sampled_from([0, 1, 3, 6, 20, 24, 40, 80, 200]).map(lambda size: size * GB)
machines = st.builds(
    Resources,
    machine=st.just("m"),
    host=st.just("host"),
    cores=st.integers(1, 8),
    memory=sizes.filter(bool),
    gpus=st.lists(st.sampled_from(CARDS), max_size=3, unique=True).map(tuple),
)
plain_needs = st.builds(
    Needs,
    gpus=st.integers(0, 3),
    gpu_memory=sizes,
    cores=st.none() | st.integers(0, 9),
    memory=sizes,
    least=sizes,
    source=st.sampled_from(["declared", "estimated", "measured", "given"]),
)
needs = st.none() | st.builds(replace, plain_needs, without_gpus=st.none() | plain_needs)


def used(machine: Resources, running: dict[int, Assignment]) -> None:
    """Assert that the machine's running jobs fit into it."""
    assert sum(each.cores for each in running.values()) <= machine.cores
    assert sum(each.memory for each in running.values()) <= machine.memory
    for card in machine.gpus:
        holders = [each for each in running.values() if card.id in (each.cards or ())]
        if any(not each.gpu_memory for each in holders) or not card.memory:
            assert len(holders) <= 1, "a card given whole is shared"
        elif len(holders) > 1:
            assert sum(min(each.gpu_memory, card.memory) for each in holders) <= card.memory


@given(machine=machines, queue=st.lists(needs, max_size=12), data=st.data())
def test_running_jobs_fit_their_machine_the_order_holds_and_all_that_can_run_do(machine, queue, data):
    waiting = [Waiting(number, each) for number, each in enumerate(queue)]
    possible = [job.id for job in waiting if not never_fits(job.needs, machine)]
    running: dict[int, Assignment] = {}
    begun: list[int] = []
    while True:
        choice = choose(waiting, machine, running)
        if choice is not None and choice.given is not None:
            running[choice.id] = choice.given
            begun.append(choice.id)
            waiting = [job for job in waiting if job.id != choice.id]
            used(machine, running)
        elif running:
            assert choice is None or choice.why
            running.pop(data.draw(st.sampled_from(sorted(running))))
        else:
            break
    assert begun == possible, "a job was overtaken, or waits for ever"
    assert [job.id for job in waiting] == [number for number in range(len(queue)) if number not in possible]


@given(machine=machines, wanted=needs)
def test_a_job_that_can_fit_a_machine_fits_it_empty_and_gets_no_more_cards_than_it_needs(machine, wanted):
    if never_fits(wanted, machine):
        return
    assigned = assign(wanted, machine, {})
    assert isinstance(assigned, Assignment), assigned
    if not machine.gpus:
        assert assigned.cards is None
    elif wanted is not None:
        cards = [card for card in machine.gpus if card.id in assigned.cards]
        assert len(cards) == wanted.gpus
        assert all(card.memory >= wanted.least or not card.memory for card in cards)


def test_a_job_waits_for_the_card_that_it_fits_and_takes_a_whole_one_where_none_is_as_large():
    large = Needs(gpus=1, gpu_memory=40 * GB, cores=0)
    busy = {7: Assignment("m", "box", ("b",), 60 * GB)}
    assert assign(large, BOX, {}).cards == ("b",)
    assert assign(large, BOX, busy) == "GPUs: 40.0 GB on 1 GPU needed, 0 free beside job 7"
    assert assign(replace(large, gpu_memory=100 * GB), BOX, {}).cards == ("b",)


BOX = Resources("m", "box", 8, 64 * GB, (Gpu("a", memory=24 * GB), Gpu("b", memory=80 * GB)))
PLAIN = Resources("p", "plain", 2, 16 * GB)


@pytest.mark.parametrize(
    ("wanted", "machine", "reason"),
    [
        (Needs(gpus=1), PLAIN, "it needs 1 GPU, and plain has none"),
        (Needs(gpus=3), BOX, "it needs 3 GPUs, and box has 2"),
        (Needs(gpus=1, least=90 * GB), BOX, "it needs 90.0 GB on a GPU; box has 80.0 GB on its largest"),
        (Needs(gpus=2, least=30 * GB), BOX, "it needs 30.0 GB on each of 2 GPUs; box has 80.0 GB on its largest"),
        (Needs(least=20 * GB), PLAIN, "it needs 20.0 GB of memory; plain has 16.0 GB"),
        (Needs(gpus=1, without_gpus=Needs(least=20 * GB)), PLAIN, "it needs 20.0 GB of memory; plain has 16.0 GB"),
        (Needs(cores=3, source="given"), PLAIN, "it needs 3 cores; plain has 2"),
        (Needs(cores=3, source="estimated"), PLAIN, ""),
        (Needs(memory=20 * GB), PLAIN, ""),
        (Needs(gpus=1, gpu_memory=100 * GB), BOX, ""),
        (Needs(gpus=1, without_gpus=Needs()), PLAIN, ""),
        (None, PLAIN, ""),
    ],
)
def test_why_a_job_can_never_run_on_a_machine(wanted, machine, reason):
    assert never_fits(wanted, machine) == reason


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Needs(cores=0, memory=int(6.1 * GB)), "memory: 6.1 GB needed, 3.0 GB free beside job 4"),
        (Needs(cores=3), "cores: 3 needed, 2 free beside job 4"),
        (None, "cores: 8 needed, 2 free beside job 4; its needs are not known, so it runs alone"),
        (Needs(gpus=2, cores=0), "GPUs: 2 GPUs needed, 1 free beside job 4"),
        (
            Needs(gpus=2, gpu_memory=20 * GB, cores=0),
            "GPUs: 20.0 GB on 2 GPUs needed, 1 free beside job 4",
        ),
    ],
)
def test_what_a_job_waits_for(wanted, reason):
    running = {4: Assignment("m", "box", ("a",), 10 * GB, 6, 61 * GB)}
    assert assign(wanted, BOX, running) == reason


def test_cards_are_shared_by_their_memory_and_large_gaps_stay_for_large_jobs():
    running: dict[int, Assignment] = {}
    given_cards = []
    for number, size in enumerate([10, 10, 40, 30, 3, 9]):
        running[number] = assign(Needs(gpus=1, gpu_memory=size * GB, cores=0), BOX, running)
        given_cards.append(running[number].cards)
    assert given_cards == [("a",), ("a",), ("b",), ("b",), ("a",), ("b",)]
    assert "GPUs" in assign(Needs(gpus=1, gpu_memory=2 * GB, cores=0), BOX, running)


def test_what_a_person_runs_at_once_gets_the_cards_used_by_the_fewest():
    running = {1: Assignment("m", "box", ("a",), 0, 8, 0), 2: Assignment("m", "box", ("a", "b"), 0, 0, 0)}
    assert assign_anyway(Needs(gpus=1), BOX, running).cards == ("b",)
    assert assign_anyway(None, BOX, running).cards == ("b", "a")
    assert assign_anyway(None, PLAIN, {}).cards is None


@given(wanted=needs.filter(lambda each: each is not None), machine=machines)
def test_needs_and_resources_survive_their_way_through_json(wanted, machine):
    assert Needs.from_json(json.loads(json.dumps(wanted.to_json()))) == wanted
    assert Resources.from_json(json.loads(json.dumps(machine.to_json()))) == machine
    if not never_fits(wanted, machine):
        assigned = assign(wanted, machine, {})
        assert Assignment.from_json(json.loads(json.dumps(assigned.to_json()))) == assigned


@pytest.mark.parametrize(
    "values",
    [
        None, [], "x", {"gpus": -1}, {"gpus": True}, {"gpus": 1.5}, {"gpus": 2**61}, {"colour": 1}, {"source": "magic"},
        {"cores": "2"}, {"without_gpus": 3}, {"without_gpus": {"without_gpus": {}, "gpus": "no"}},
    ],
)  # fmt: skip
def test_needs_from_elsewhere_are_checked(values):
    with pytest.raises(UsageError):
        Needs.from_json(values)


@pytest.mark.parametrize(
    "change",
    [
        {"machine": ""}, {"machine": 1}, {"host": "x" * 201}, {"host": "a\nb"}, {"cores": 0.5}, {"memory": None},
        {"gpus": "a"}, {"gpus": [{}] * 1025}, {"gpus": [{"id": 3}]}, {"more": 1}, {"gpus": [{"id": "a,b"}]},
        {"gpus": [{"id": "a"}, {"id": "a"}]},
    ],
)  # fmt: skip
def test_resources_from_elsewhere_are_checked(change):
    with pytest.raises(UsageError):
        Resources.from_json(BOX.to_json() | change)
