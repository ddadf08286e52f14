"""Lengths: a cut-off counts what training would do; all rows agree with the sample where it holds them all."""

from __future__ import annotations

import numpy as np
import pytest
from camelid_core.errors import CamelidError
from camelid_core.tokenization.encoder import TokenArrays
from camelid_ui.services.data.lengths import SAMPLE, TokenLengths
from hypothesis import given
from hypothesis import strategies as st

ROWS = st.lists(st.lists(st.booleans(), max_size=30), max_size=20)


@given(ROWS, st.integers(1, 40))
def test_a_cut_off_counts_each_row_once(masks, cutoff):
    """Against the plain definition: kept if there is a trained token before the cut-off."""
    offsets = np.cumsum([0, *map(len, masks)])
    flat = np.array([each for mask in masks for each in mask], dtype=bool)
    found = TokenLengths.of_sample(TokenArrays(np.zeros(len(flat), np.int32), flat, offsets)).at(cutoff)
    kept = [mask for mask in masks if any(mask[:cutoff])]
    assert found.refused == sum(not mask for mask in masks)
    assert found.dropped == len(masks) - len(kept) - found.refused
    assert found.shortened == sum(len(mask) > cutoff for mask in kept)
    assert found.whole == sum(len(mask) <= cutoff for mask in kept)
    assert found.tokens == sum(min(len(mask), cutoff) for mask in kept)
    assert found.trained == sum(sum(mask[:cutoff]) for mask in masks)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(2, 40))
def test_texts_are_divided_and_not_shortened(lengths, cutoff):
    """Every second row is a text."""
    offsets = np.cumsum([0, *lengths])
    texts = [at % 2 == 0 for at in range(len(lengths))]
    tokens = TokenArrays(np.zeros(offsets[-1], np.int32), np.ones(offsets[-1], bool), offsets)
    found = TokenLengths.of_sample(tokens, texts).at(cutoff)
    assert found.shortened == sum(length > cutoff for length in lengths[1::2])
    assert found.tokens == found.trained == sum(lengths[::2]) + sum(min(each, cutoff) for each in lengths[1::2])
    assert found.examples == sum(-(-each // cutoff) for each in lengths[::2]) + len(lengths[1::2])


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60))
def test_every_row_stands_in_one_bar(lengths):
    offsets = np.cumsum([0, *lengths])
    bins = TokenLengths.of_sample(
        TokenArrays(np.zeros(offsets[-1], np.int32), np.zeros(offsets[-1], bool), offsets)
    ).bins()
    assert sum(rows for _, _, rows in bins) == len(lengths)
    assert bins[-1][1] >= max(lengths)
    assert len(bins) <= 49


def test_a_sample_is_measured_and_all_rows_agree_with_it(services):
    measure = services.data.lengths
    sample = measure.sample("cot-arithmetic-en", "tiny")
    assert sample.rows == SAMPLE
    assert not sample.exact
    work = measure.count("cot-arithmetic-en", "tiny").wait(240)
    assert work.state == "done", work.error
    every = measure.known("cot-arithmetic-en", "tiny")
    assert every.exact
    assert every.rows == 4000
    assert (every.tokens[:SAMPLE] == sample.tokens).all()
    for cutoff in (16, 60, 80, 10**6):
        assert (every.within(cutoff)[:SAMPLE] == sample.within(cutoff)).all()
    assert every.at(16).too_many


def test_counting_twice_takes_the_tokens_from_the_cache(services):
    services.data.lengths.count("cot-arithmetic-en", "tiny").wait(240)
    (entry,) = services.data.cache.all()
    assert entry.rows == 4000
    assert services.data.cache.prune(older_than_days=30) == 0
    assert services.data.cache.size() == entry.bytes
    services.data.lengths.forget()
    assert services.data.cache.prune(older_than_days=0) == entry.bytes


def test_a_model_that_is_not_here_is_reported(services):
    with pytest.raises(CamelidError):
        services.data.lengths.sample("cot-arithmetic-en", "tinny")
