"""Mixtures: the shares asked for, one order for one seed, any position to begin at, and nothing leaks or is lost."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from camelid_core.datasets.dataset import Dataset
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.mixing.interleaving import InterleavingSchedule, apportion
from camelid_core.mixing.row_selection import HELD_OUT, Mixture, account_table, mix
from camelid_core.quality import conversation_key
from camelid_core.records import Record, alpaca
from camelid_core.registry import Registry
from hypothesis import given
from hypothesis import strategies as st


def dataset(name: str, records: list[Record], rows: int = 0, heldout: tuple[Record, ...] = ()) -> Dataset:
    def load(split, limit):
        return iter((records if split == "train" else list(heldout))[:limit])

    return Dataset(name, "", "mit", (), rows, load, heldout_rows=len(heldout))


def registry(*datasets: Dataset) -> Registry[Dataset]:
    found: Registry[Dataset] = Registry("dataset")
    for each in datasets:
        found.add(each, "test")
    return found


def rows(name: str, count: int, tags: tuple[str, ...] = ()) -> list[Record]:
    return [alpaca(f"{name} question {n}", f"answer {n}", id=str(n), source=name, tags=tags) for n in range(count)]


def sized(**sizes: int) -> Registry[Dataset]:
    return registry(*(dataset(name, rows(name, size)) for name, size in sizes.items()))


def rows_per_source(mixed) -> dict[str, int]:
    return dict(Counter(record.source for record in mixed.records()))


counts_of_streams = st.lists(st.integers(0, 60), min_size=1, max_size=5)
weights = st.sampled_from(["", ":0.5", ":2", ":1.5", ":0.1", ":3.25"])


@given(counts_of_streams, st.integers(0, 5), st.integers(0, 320))
def test_a_schedule_gives_every_element_once_and_begins_anywhere(sizes, seed, start):
    schedule = InterleavingSchedule(sizes, seed)
    stream_indices = list(schedule.stream_indices())
    assert [stream_indices.count(number) for number in range(len(sizes))] == sizes
    assert list(schedule.stream_indices(start)) == stream_indices[start:]
    assert schedule.consumed(start) == [stream_indices[:start].count(number) for number in range(len(sizes))]


@given(st.integers(0, 1000), st.lists(st.floats(0, 1e6), min_size=1, max_size=6))
def test_parts_add_up(total, shares):
    parts = apportion(total, shares)
    assert sum(parts) == (total if sum(shares) else 0)
    assert all(
        abs(part - total * share / sum(shares)) < 1 for part, share in zip(parts, shares, strict=True) if sum(shares)
    )


@given(
    st.lists(st.tuples(st.integers(1, 25), weights), min_size=1, max_size=3),
    st.sampled_from([1.0, 2.0, 1000.0]),
    st.none() | st.integers(1, 60),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 6),
    st.integers(0, 120),
)
def test_records_from_any_position_are_the_rest_of_all_records(
    sources, temperature, total, seed, exact, heldout, start
):
    datasets = registry(*(dataset(f"d{n}", rows(f"d{n % 2}", size)) for n, (size, _) in enumerate(sources)))
    mixture = Mixture(
        sources=[f"d{n}{weight}" for n, (_, weight) in enumerate(sources)],
        temperature=temperature,
        rows=total,
        seed=seed,
        deduplicate="exact" if exact else "no",
    )
    try:
        mixed = mix(mixture, datasets, heldout)
    except DataError:
        return  # a weight of 0.1 can leave nothing of few rows
    everything = list(mixed.records())
    assert len(everything) == len(mixed) == sum(part.taken for part in mixed.account)
    assert list(mixed.records(start)) == everything[start:]
    assert [record for _, record in mixed.items(start)] == everything[start:]
    assert total is None or len(everything) <= total
    for part in mixed.account:
        assert part.read == part.kept + part.dropped.total()
    held = set(map(conversation_key, mixed.heldout))
    assert not held & set(map(conversation_key, everything))
    assert len(mixed.heldout) <= heldout


def test_a_weight_of_a_half_takes_every_second_row_and_two_takes_all_twice():
    mixed = mix(Mixture(sources=["a:0.5", "b:2"]), sized(a=10, b=3))
    assert rows_per_source(mixed) == {"a": 5, "b": 6}
    taken = [int(record.id) for record in mixed.records() if record.source == "a"]
    assert {later - earlier for earlier, later in pairwise(taken)} == {2}
    assert Counter(record.id for record in mixed.records() if record.source == "b") == {"0": 2, "1": 2, "2": 2}


@pytest.mark.parametrize(("temperature", "shares"), [(1, (800, 200)), (2, (667, 333)), (1000, (501, 499))])
def test_temperature_evens_out(temperature, shares):
    found = rows_per_source(mix(Mixture(sources=["a", "b"], temperature=temperature), sized(a=800, b=200)))
    assert found == pytest.approx(dict(zip("ab", shares, strict=True)), abs=1)


def test_caps_and_a_total_hold():
    mixture = Mixture(sources=["a", "b:3"], caps={"b": 20}, temperature=3)
    assert rows_per_source(mix(mixture, sized(a=100, b=10)))["b"] <= 20
    assert rows_per_source(mix(Mixture(sources=["a", "b"], rows=10), sized(a=80, b=20))) == {"a": 8, "b": 2}
    with pytest.raises(UsageError, match=r"'aa' is no source of this mixture\. Did you mean 'a'"):
        mix(Mixture(sources=["a"], caps={"aa": 1}), sized(a=1))


def test_sources_join_with_a_plus_and_shares_are_told():
    mixed = mix(Mixture(sources=["a+b"]), sized(a=30, b=10))
    assert mixed.shares() == {"a": 0.75, "b": 0.25}


def test_the_first_of_several_copies_stays_and_the_account_says_whose_were_lost():
    shared = rows("x", 4)
    datasets = registry(dataset("a", shared + rows("a", 2)), dataset("b", rows("b", 3) + shared))
    mixed = mix(Mixture(sources=["a", "b"], deduplicate="exact"), datasets)
    assert [part.as_dict() for part in mixed.account] == [
        {"source": "a", "read": 6, "kept": 6, "taken": 6, "dropped": {}, "fixed": {}, "notes": []},
        {
            "source": "b",
            "read": 7,
            "kept": 3,
            "taken": 3,
            "dropped": {"copy of a row in a": 4},
            "fixed": {},
            "notes": [],
        },
    ]
    assert account_table(mixed.account)[1] == {
        "source": "b",
        "before": 7,
        "after": 3,
        "left out": "copy of a row in a 4",
    }


def test_near_copies_go_too():
    text = "the quick brown fox jumps over the lazy dog while seven small wizards watch it from afar " * 2
    datasets = registry(
        dataset("a", [alpaca(text, text + "yes")]), dataset("b", [alpaca(text, text + "yes."), *rows("b", 1)])
    )
    mixed = mix(Mixture(sources=["a", "b"], deduplicate="near"), datasets)
    assert mixed.account[1].dropped == {"near copy of a row in a": 1}


def test_categories_and_lints_are_dropped():
    refusing = [alpaca("Can you?", "As an AI language model, I cannot.", source="r")]
    datasets = registry(dataset("a", rows("a", 3) + rows("s", 2, tags=("system",)) + refusing))
    mixed = mix(Mixture(sources=["a"], drop_tags=["system"], drop_lints=["refusal"]), datasets)
    assert rows_per_source(mixed) == {"a": 3}
    assert mixed.account[0].dropped == {"tag system": 2, "lint refusal": 1}
    with pytest.raises(UnknownName, match="'refusals' is not known"):
        mix(Mixture(sources=["a"], drop_lints=["refusals"]), datasets)
    with pytest.raises(DataError, match=r"no rows to train on\. Left out: lint refusal 1"):
        mix(Mixture(sources=["a"], drop_lints=["refusal"]), registry(dataset("a", refusing)))


def test_a_source_with_its_own_held_out_part_is_not_counted_and_not_leaked():
    own = dataset("own", rows("own", 50), rows=50, heldout=tuple(rows("own", 2)))
    other = dataset("other", rows("other", 50) + rows("own", 1))
    seen: list[str] = []
    mixed = mix(Mixture(sources=["own", "other"]), registry(own, other), 4, lambda name, *_: seen.append(name))
    assert set(seen) == {"other"}
    assert len(mixed.heldout) == 4
    held = set(map(conversation_key, mixed.heldout))
    trained = list(mixed.records())
    assert not held & set(map(conversation_key, trained))
    assert mixed.account[1].dropped[HELD_OUT] == 3  # two of its own, and the copy of the other's
    assert trained[17:] == list(mixed.records(17))


def test_copies_of_held_out_rows_leave_a_counted_source_with_its_own_held_out_part():
    own = dataset("own", rows("x", 50), rows=50, heldout=tuple(rows("own", 2)))
    mixed = mix(Mixture(sources=["own", "x"], drop_tags=["none"]), registry(own, dataset("x", rows("x", 50))), 6)
    held = set(map(conversation_key, mixed.heldout))
    assert len(held) == 6
    assert not held & set(map(conversation_key, mixed.records()))


def test_a_source_that_shrinks_while_it_is_read_is_named():
    records = rows("a", 5)
    mixed = mix(Mixture(sources=["a"]), registry(dataset("a", records)))
    del records[3:]
    with pytest.raises(DataError, match="'a' has fewer rows than when they were counted"):
        list(mixed.records())
