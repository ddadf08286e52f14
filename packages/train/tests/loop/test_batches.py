"""Batches: every row once an epoch, in an order of the seed alone."""

from __future__ import annotations

import pytest
import torch
from camelid_core.tokenization.encoder import IGNORE, Example
from camelid_train.loop.batches import Collator, StepBatches, batches_by_length
from hypothesis import given
from hypothesis import strategies as st

lengths = st.lists(st.integers(1, 200), min_size=1, max_size=120)
sizes = st.integers(1, 9)


def order(given: list[int], size: int, seed: int = 0, epoch: int = 0) -> list[list[int]]:
    batches = StepBatches(given, size, seed)
    batches.set_epoch(epoch)
    assert len(batches) == len(list(batches))
    return list(batches)


@given(lengths, sizes, st.integers(0, 3))
def test_every_row_comes_exactly_once_an_epoch(given, size, epoch):
    batches = order(given, size, epoch=epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(given)))
    assert all(1 <= len(batch) <= size for batch in batches)


@given(lengths, sizes, st.integers(0, 9))
def test_the_order_depends_on_seed_and_epoch_alone(given, size, seed):
    assert order(given, size, seed, 1) == order(list(given), size, seed, 1)


@given(lengths, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2))
def test_a_step_has_the_same_rows_however_they_are_shared_out(given, size, accumulation, parts, epoch):
    def steps(size, accumulation, parts):
        shares = [StepBatches(given, size, 7, accumulation, part, parts) for part in range(parts)]
        for share in shares:
            share.set_epoch(epoch)
        assert len({len(share) for share in shares}) == 1
        rounds = list(zip(*shares, strict=True))
        assert all(len(share) <= size for shared in rounds for share in shared)
        return [
            sorted(index for shared in rounds[start : start + accumulation] for share in shared for index in share)
            for start in range(0, len(rounds), accumulation)
        ]

    shared = steps(size, accumulation, parts)
    assert shared == steps(size * accumulation * parts, 1, 1)
    assert sorted(index for step in shared for index in step) == list(range(len(given)))


def test_another_epoch_and_another_seed_have_another_order():
    given = [1 + index % 50 for index in range(100)]
    assert len({str(order(given, 4, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_same_batches_can_be_walked_twice():
    batches = StepBatches(list(range(1, 50)), 4, 0)
    assert list(batches) == list(batches)


@given(lengths, sizes, st.integers(1, 4))
def test_what_a_step_teaches_does_not_depend_on_lengths_and_its_batches_hold_rows_of_like_length(
    given, size, accumulation
):
    def steps(given):
        batches = list(StepBatches(given, size, 5, accumulation))
        return [batches[start : start + accumulation] for start in range(0, len(batches), accumulation)]

    def rows(steps):
        return [sorted(index for batch in step for index in batch) for step in steps]

    assert rows(steps(given)) == rows(steps([1] * len(given)))
    for step in steps(given):
        found = [given[index] for batch in step for index in batch]
        assert found == sorted(found, reverse=True)


def test_who_has_no_rows_left_takes_part_with_one_that_teaches_nothing():
    batch = Collator(pad_id=3)([])
    assert (batch["input_ids"] == 3).all()
    assert (batch["labels"] == IGNORE).all()
    assert len(batch["labels"]) == 1


examples = st.lists(
    st.integers(1, 12).map(lambda n: Example(list(range(5, 5 + n)), [IGNORE, *range(6, 5 + n)])),
    min_size=1,
    max_size=9,
)


@given(examples)
def test_a_batch_is_padded_on_the_right_and_padding_has_no_label(given):
    batch = Collator(pad_id=0)(given)
    longest = max(len(example.input_ids) for example in given)
    assert batch["input_ids"].shape == batch["labels"].shape == (len(given), longest)
    assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64
    for row, example in enumerate(given):
        size = len(example.input_ids)
        assert batch["input_ids"][row].tolist() == example.input_ids + [0] * (longest - size)
        assert batch["labels"][row].tolist() == example.labels + [IGNORE] * (longest - size)


@given(examples, sizes)
def test_measuring_takes_the_longest_first_and_each_row_once(given, size):
    batches = list(batches_by_length(given, size))
    flat = [example for batch in batches for example in batch]
    assert sorted(map(str, flat)) == sorted(map(str, given))
    assert [len(example.input_ids) for example in flat] == sorted((len(e.input_ids) for e in given), reverse=True)
    assert max(map(len, batches)) <= size


@pytest.mark.parametrize("size", [1, 7])
def test_measuring_nothing_gives_no_batch(size):
    assert list(batches_by_length([], size)) == []
