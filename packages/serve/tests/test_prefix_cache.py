"""The prefix cache: a cached prefix is not computed again, and no answer changes for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from camelid_core.testing import tiny_model
from camelid_serve.engine import Request, Sampling
from camelid_serve.engines.decode_batch import DecodeBatch, DecodeRow
from camelid_serve.engines.prefix_cache import PrefixCache
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

FAMILIES = {"llama": torch.float64, "gpt_neox": torch.float64, "qwen2": torch.float64, "bloom": torch.float32}
"""With what they compute. Of 431 tokens two are often as likely as each other to within what single precision rounds
off, and how many rows share a call says which of them is drawn; Transformers has BLOOM in single precision alone."""
LONGEST = 12
"""Tokens of an answer."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        family: AutoModelForCausalLM.from_pretrained(
            tiny_model(tmp_path_factory.mktemp(family), family), dtype=dtype
        ).eval()
        for family, dtype in FAMILIES.items()
    }


def make_row(ids: Sequence[int], seed: int = 0, sampled: bool = False, length: int = LONGEST) -> DecodeRow:
    sampling = Sampling(temperature=1.0 if sampled else 0.0, top_p=0.9, seed=seed, max_new_tokens=length)
    return DecodeRow(Request(ids, sampling), length)


def answer_ids(batch: DecodeBatch, rows: Sequence[DecodeRow]) -> list[list[int]]:
    """The answers of rows that join together, and are evicted when they have finished."""
    with torch.inference_mode():
        batch.add(rows)
        while batch.running:
            batch.step()
        batch.evict_finished()
    return [row.tokens[len(row.request.ids) :] for row in rows]


@contextmanager
def count_input_tokens(model: Any) -> Iterator[list[int]]:
    """How many tokens each forward pass computes."""
    calls: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, given: calls.append(given["input_ids"].numel()), with_kwargs=True
    )
    yield calls
    hook.remove()


class RandomConversations:
    """Conversations with common prefixes, which continue after their answers."""

    def __init__(self, seed: int, draws: bool) -> None:
        self._random = random.Random(seed)
        self._draws = draws
        self._texts = [self._words(20), self._words(30)]

    def next_rows(self) -> list[DecodeRow]:
        return [self._row() for _ in range(self._random.randrange(1, 5))]

    def continue_from(self, row: DecodeRow) -> None:
        self._texts.append(row.tokens)

    def _row(self) -> DecodeRow:
        start = self._random.choice(self._texts)
        cut = self._random.randrange(1, len(start) + 1) if self._random.random() < 0.3 else len(start)
        length = self._random.randrange(1, LONGEST + 1)
        ids = start[:cut] + self._words(self._random.randrange(1, 15))
        return make_row(ids, self._random.randrange(100), self._draws and self._random.random() < 0.5, length)

    def _words(self, count: int) -> list[int]:
        return [self._random.randrange(5, 300) for _ in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=4, deadline=None)
def test_rows_with_a_common_prefix_are_answered_as_alone(models: dict[str, Any], family: str, seed: int) -> None:
    model, numbers = models[family], random.Random(seed)
    conversations = RandomConversations(seed, FAMILIES[family] == torch.float64)
    prefixes = PrefixCache(numbers.choice([40_000, 2_000_000]))
    batch = DecodeBatch(model, prefixes)
    rows: list[DecodeRow] = []
    with torch.inference_mode():
        for _ in range(30):
            if not batch.running or numbers.random() < 0.2:
                joining = conversations.next_rows()
                rows += joining
                batch.add(joining)
            batch.step()
            if numbers.random() < 0.3:
                batch.evict_finished()
            conversations.continue_from(numbers.choice(rows))
            assert prefixes.bytes <= prefixes.limit
        while batch.running:
            batch.step()
    for row in rows:
        alone = DecodeRow(row.request, row.request.sampling.max_new_tokens)
        assert answer_ids(DecodeBatch(model, PrefixCache(0)), [alone]) == [row.tokens[len(row.request.ids) :]]


def test_the_next_turn_computes_new_tokens_alone(models: dict[str, Any]) -> None:
    """The question and the answer's last token, which is not in the KV cache yet; then one pass for each token."""
    model, batch = models["llama"], DecodeBatch(models["llama"])
    first = make_row(range(5, 105))
    answer_ids(batch, [first])
    with count_input_tokens(model) as calls:
        answer_ids(batch, [make_row([*first.tokens, 7, 8, 9])])
    assert calls == [4] + [1] * (LONGEST - 1)
    with count_input_tokens(model) as calls:
        answer_ids(batch, [make_row(range(5, 85))])
    assert calls[0] == 1, "a part of a cached prefix is cached, too"


def test_a_shared_prefix_is_computed_once(models: dict[str, Any]) -> None:
    batch = DecodeBatch(models["llama"])
    for numbers, expected in (((60, 61, 62), [50, 3 * 2]), ((63, 64), [2 * 2])):
        with count_input_tokens(models["llama"]) as calls:
            answer_ids(batch, [make_row([*range(5, 55), number, 9]) for number in numbers])
        assert calls[: len(expected)] == expected, "and not again for later rows"


def test_forgetting_an_adapter_drops_its_entries(models: dict[str, Any]) -> None:
    batch = DecodeBatch(models["llama"])
    answer_ids(batch, [make_row(range(5, 55))])
    row = make_row(range(5, 75))
    with torch.inference_mode():
        batch.add([row])
        batch.forget_adapter(None)
        assert batch.prefix_cache.bytes == 0
        while batch.running:
            batch.step()
        batch.evict_finished()
    assert batch.prefix_cache.bytes == 0, "what was running is not cached either"


def test_the_least_recently_used_entry_is_evicted_first(models: dict[str, Any]) -> None:
    batch = DecodeBatch(models["llama"])
    one, two, three = ([number, *range(5, 55)] for number in (1, 2, 3))
    answer_ids(batch, [make_row(one)])
    batch.prefix_cache.limit = 2 * batch.prefix_cache.bytes
    answer_ids(batch, [make_row(two)])
    batch.prefix_cache.longest_match(None, one)
    answer_ids(batch, [make_row(three)])
    known = [batch.prefix_cache.longest_match(None, ids)[0] for ids in (one, two, three)]
    assert known == [50, 0, 50]
    assert batch.prefix_cache.bytes <= batch.prefix_cache.limit
    batch.prefix_cache.limit //= 4
    answer_ids(batch, [make_row([4, *range(5, 55)])])
    assert batch.prefix_cache.longest_match(None, one)[0] == 50, (
        "what is larger than all there is room for drives nothing out"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"model_type": "mistral", "sliding_window": 8},
        {
            "model_type": "llama",
            "max_position_embeddings": 64,
            "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
        },
    ],
    ids=["windows", "dynamic"],
)
def test_nothing_is_cached_where_keys_depend_on_the_length(options: dict[str, Any]) -> None:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(**options, hidden_size=32, vocab_size=400, **sizes)
    batch = DecodeBatch(AutoModelForCausalLM.from_config(config).eval())
    for _ in range(2):
        with count_input_tokens(batch._model) as calls:
            answer_ids(batch, [make_row(range(5, 45)), make_row(range(5, 46))])
        assert calls[0] == 2 * 41
    assert batch.prefix_cache.bytes == 0
