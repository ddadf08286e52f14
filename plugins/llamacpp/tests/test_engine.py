"""llama.cpp as an engine: the same tokens as Transformers with the same weights, whatever shares the KV cache."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from camelid_core.errors import ModelError, UnknownName
from camelid_core.plugins import load_host
from camelid_llamacpp import model as native
from camelid_serve.config import EngineConfig
from camelid_serve.engine import Request, Sampling
from camelid_serve.engines.transformers import TransformersEngine
from camelid_serve.loaded_models import LoadedModel, load_model
from camelid_serve.testing import assert_engine_contract, collect, prompts

LONG = Sampling(max_new_tokens=60_000)
"""For the model that never ends: minutes."""
CLOSE = 1e-5
"""Logits that differ by less may be in another order where another library adds the same numbers up."""


def assert_greedy(model: Any, ids: Sequence[int], answer: Sequence[int]) -> None:
    """Each token is the likeliest after all before it, or as likely as that to within rounding."""
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1]
    given = logits.gather(-1, torch.tensor(answer)[:, None])[:, 0]
    assert float((logits.max(-1).values - given).max()) < CLOSE


def test_the_engine_keeps_the_contract_of_all_engines(file: Callable[[str], Path]) -> None:
    assert_engine_contract(load_host().registry("camelid_engines")["llamacpp"], file("f32"))


@pytest.mark.parametrize("shared", [0, 20])
def test_greedy_equals_transformers_for_mixed_lengths(tiny: LoadedModel, plain: Any, shared: int) -> None:
    """Ten requests on four places: prompts are read while other answers go on, some begin with what is read already."""
    lengths = [3, 17, 8, 1, 30, 12, 5, 9, 21, 2]
    asked = [Request(ids, Sampling(max_new_tokens=n)) for ids, n in zip(prompts(10, shared), lengths, strict=True)]
    tokens, ends = collect(tiny.engine, asked)
    assert [len(each) for each in tokens] == lengths
    assert set(ends) == {"length"}
    for request, answer in zip(asked, tokens, strict=True):
        assert_greedy(plain, request.ids, answer)


def test_a_conversation_that_goes_on_is_answered_as_if_it_were_new(tiny: LoadedModel, plain: Any) -> None:
    ids = prompts(1)[0] * 3
    for _ in range(3):
        answer = collect(tiny.engine, [Request(ids, Sampling(max_new_tokens=9))])[0][0]
        assert_greedy(plain, ids, answer)
        ids = [*ids, *answer, 7, 8]


def test_what_is_drawn_with_a_seed_equals_transformers(tiny: LoadedModel, plain: Any) -> None:
    """Both engines choose with the same random numbers from the same probabilities."""
    drawn = Sampling(temperature=0.9, top_p=0.9, top_k=40, repetition_penalty=1.2, max_new_tokens=12)
    asked = [Request(ids, drawn.model_copy(update={"seed": n})) for n, ids in enumerate(prompts(8))]
    engine = TransformersEngine(plain, slots=8)
    try:
        expected = collect(engine, asked)[0]
    finally:
        engine.close()
    together = collect(tiny.engine, asked)[0]
    assert together == expected
    assert collect(tiny.engine, asked[3:4])[0] == together[3:4]


def test_probabilities_are_the_models_own(tiny: LoadedModel, plain: Any) -> None:
    ids = prompts(1)[0]
    sampling = Sampling(temperature=1.0, max_new_tokens=5)
    events = list(tiny.engine.stream([Request(ids, sampling, logprobs=3)]))
    answer = [event.token for event in events]
    with torch.inference_mode():
        shares = plain(torch.tensor([[*ids, *answer]])).logits[0].log_softmax(-1)
    for place, event in enumerate(events, len(ids) - 1):
        assert event.token_logprob.logprob == pytest.approx(float(shares[place, event.token]), abs=CLOSE)
        assert [token for token, _ in event.token_logprob.top] == shares[place].topk(3).indices.tolist()
    scored = tiny.engine.prompt_logprobs([*ids, *answer], None, 1)
    assert [each.token for each in scored[:-1]] == [*ids[1:], *answer]
    expected = [float(shares[place, each.token]) for place, each in enumerate(scored)]
    assert [each.logprob for each in scored] == pytest.approx(expected, abs=CLOSE)


def test_a_stop_token_ends_an_answer_and_is_not_given_out(tiny: LoadedModel) -> None:
    ids = prompts(1)[0]
    whole = collect(tiny.engine, [Request(ids, Sampling(max_new_tokens=20))])[0][0]
    stop = whole[7]
    found = collect(tiny.engine, [Request(ids, Sampling(max_new_tokens=20), stops=frozenset({stop}))])
    assert found == ([whole[: whole.index(stop)]], ["stop"])


def test_cancel_ends_one_request_within_a_token(talker: LoadedModel) -> None:
    first, second = prompts(2)
    stream = talker.engine.stream([Request(first, LONG), Request(second, Sampling(max_new_tokens=30))])
    ends, after = {}, 0
    for event in stream:
        after += event.index == 0 and event.token is not None and 0 in ends
        if event.index == 0 and event.token is not None and not ends:
            stream.cancel(0)
            ends[0] = None
        if event.finish:
            ends[event.index] = event.finish
    assert (ends, after) == ({0: "cancelled", 1: "length"}, 0)


def test_closing_a_stream_frees_its_places(talker: LoadedModel) -> None:
    stream = talker.engine.stream([Request(ids, LONG) for ids in prompts(9)])
    next(stream)
    stream.close()
    assert list(stream) == []
    tokens, _ = collect(talker.engine, [Request(prompts(1)[0], Sampling(max_new_tokens=2))])
    assert len(tokens[0]) == 2


def test_who_is_cancelled_while_waiting_waits_no_more(talker: LoadedModel) -> None:
    """Nor behind others that wait, too."""
    asked = [Request(ids, LONG) for ids in prompts(6)]
    with talker.engine.stream(asked[:4]), talker.engine.stream(asked) as waiting:
        waiting.cancel(5)
        event = next(waiting)
    assert (event.index, event.finish) == (5, "cancelled")


def test_streams_of_several_threads_run_together(tiny: LoadedModel, plain: Any) -> None:
    found: dict[int, list[int]] = {}

    def ask(number: int, ids: list[int]) -> None:
        found[number] = collect(tiny.engine, [Request(ids, Sampling(max_new_tokens=10 + number))])[0][0]

    given = prompts(8, seed=3)
    threads = [threading.Thread(target=ask, args=each) for each in enumerate(given)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, ids in enumerate(given):
        assert len(found[number]) == 10 + number
        assert_greedy(plain, ids, found[number])


def test_a_full_cache_makes_texts_wait_and_changes_no_answer(
    file: Callable[[str], Path], plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four texts of 300 tokens in a cache of 512: those that came last leave, and are read again."""
    monkeypatch.setattr(native, "_MEMORY_FRACTION", 0.0)
    small = load_model(str(file("f32")), load_host(), EngineConfig(dtype="float32", slots=4))
    try:
        assert small.engine.context_length == 512
        asked = [Request(ids, Sampling(max_new_tokens=300 - len(ids))) for ids in prompts(4)]
        tokens, ends = collect(small.engine, asked)
    finally:
        small.close()
    assert set(ends) == {"length"}
    for request, answer in zip(asked, tokens, strict=True):
        assert_greedy(plain, request.ids, answer)


def test_the_context_is_never_left(tiny: LoadedModel) -> None:
    ids = [7] * (tiny.engine.context_length - 3)
    tokens, ends = collect(tiny.engine, [Request(ids, Sampling(max_new_tokens=50))])
    assert (len(tokens[0]), ends) == (3, ["length"])


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (Request([]), ModelError, "empty"),
        (Request([1] * 600), ModelError, "512"),
        (Request([1, 1_000_000]), ModelError, "token ids"),
        (Request([1], adapter="nope"), UnknownName, "nope"),
    ],
)
def test_what_cannot_be_asked_is_said(tiny: LoadedModel, request_: Request, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tiny.engine.stream([request_])


def test_closing_ends_what_is_under_way(endless: Path) -> None:
    loaded = load_model(str(endless), load_host(), EngineConfig(slots=2))
    streams = [loaded.engine.stream([Request(ids, LONG)]) for ids in prompts(4)]
    next(streams[0])
    loaded.close()
    for stream in streams:
        with pytest.raises(ModelError, match="unloaded"):
            list(stream)
    with pytest.raises(ModelError, match="unloaded"):
        loaded.engine.stream([Request([5])])


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_smaller_numbers_give_nearly_the_same_probabilities(file: Callable[[str], Path], plain: Any, kind: str) -> None:
    ids = prompts(1)[0] * 4
    loaded = load_model(str(file(kind)), load_host(), EngineConfig(slots=1))
    try:
        scored = loaded.engine.prompt_logprobs(ids, None, 0)
    finally:
        loaded.close()
    with torch.inference_mode():
        shares = plain(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(shares[place, each.token]) for place, each in enumerate(scored)]
    assert [each.logprob for each in scored] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("first", [0, 140])
def test_whole_distributions_equal_transformers(tiny: LoadedModel, plain: Any, first: int) -> None:
    """Longer than what is decoded at once, from any position on, and the KV cache is free again afterwards."""
    ids = [token for each in prompts(20) for token in each][:200]
    for _ in range(2):
        pieces: list[torch.Tensor] = []
        tiny.engine.next_token_logprobs(ids, None, first, pieces.append)
        with torch.inference_mode():
            expected = plain(torch.tensor([ids])).logits[0, first:].log_softmax(-1)
        assert torch.allclose(torch.cat(pieces), expected, atol=1e-4)
