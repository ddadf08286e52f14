"""The rules that an engine keeps. Knows requests and events; knows no engine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from camelid_core.config import Config
from camelid_core.errors import CamelidError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugin_kit.description_rules import assert_described
from camelid_core.plugins import load_host

from .engine import Engine, EngineKind, Request, Sampling

_SLOTS = 2
_TOKENS = 6
_PROMPTS = ((5, 6, 7), (9, 10, 11, 12, 13), (20, 21))
Answer = tuple[list[int], str | None]
"""Tokens and finish reason."""


def assert_engine_contract(
    kind: EngineKind, model: Path, dtype: str = "float32", options: Config | None = None
) -> None:
    """What Camelid relies on in every engine, shown by opening the model at `model`, with the engine's own `options`:

    - it has a name that can be typed and a sentence of help;
    - an answer ends once, with a reason, and has no more tokens than were asked for;
    - greedy answers are the same whatever else runs, in one stream or in several at once;
    - a stop token ends an answer and is not given out;
    - an empty or a too long prompt and an unknown adapter are refused with a CamelidError before anything runs;
    - a request that is cancelled finishes so at its next event, and the others go on;
    - a stream that is closed gives nothing more; cancelling, closing a stream and closing the engine can be repeated.
    """
    assert_described(kind)
    engine = kind.open(resolve_model(str(model), load_host()), dtype, _SLOTS, options)
    try:
        assert engine.context_length > 0, f"{kind.name}: its context length is {engine.context_length}"
        alone = _assert_answers(kind.name, engine)
        _assert_shares(kind.name, engine, alone)
        _assert_stops(kind.name, engine, alone[0])
        _assert_refuses(kind.name, engine)
        _assert_cancels(kind.name, engine)
        _assert_closes(kind.name, engine)
    finally:
        engine.close()
    engine.close()


def _asked(ids: Sequence[int], tokens: int = _TOKENS, stops: frozenset[int] = frozenset()) -> Request:
    return Request(list(ids), Sampling(max_new_tokens=tokens), stops=stops)


def _answers(name: str, engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    tokens: list[list[int]] = [[] for _ in requests]
    reasons: list[str | None] = [None for _ in requests]
    with engine.stream(requests) as stream:
        for event in stream:
            assert 0 <= event.index < len(requests), f"{name}: an event of request {event.index}, which is none"
            assert reasons[event.index] is None, f"{name}: an event came after the end of its answer"
            if event.token is not None:
                assert isinstance(event.token, int), f"{name}: the token {event.token!r} is no plain int"
                tokens[event.index].append(event.token)
            reasons[event.index] = event.finish
    assert None not in reasons, f"{name}: a stream ended before all of its answers did"
    return list(zip(tokens, reasons, strict=True))


def _assert_answers(name: str, engine: Engine) -> list[Answer]:
    """The answer to each prompt by itself."""
    alone = [_answers(name, engine, [_asked(ids)])[0] for ids in _PROMPTS]
    for tokens, reason in alone:
        assert reason == "length", f"{name}: no stop token was given, and an answer ended with {reason!r}"
        assert len(tokens) == _TOKENS, f"{name}: {_TOKENS} tokens were asked for, and {len(tokens)} came"
    return alone


def _assert_shares(name: str, engine: Engine, alone: Sequence[Answer]) -> None:
    requests = [_asked(ids) for ids in _PROMPTS]
    together = _answers(name, engine, requests)
    assert together == list(alone), f"{name}: greedy answers change with what else is in the stream"
    found: dict[int, Answer] = {}

    def ask(index: int) -> None:
        found[index] = _answers(name, engine, [requests[index]])[0]

    threads = [threading.Thread(target=ask, args=(index,), daemon=True) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    several = [found.get(index) for index in range(len(requests))]
    assert several == list(alone), f"{name}: streams that are open at once give other answers, or none: {several}"


def _assert_stops(name: str, engine: Engine, answer: Answer) -> None:
    stop = answer[0][-1]
    wanted = answer[0][: answer[0].index(stop)]
    tokens, reason = _answers(name, engine, [_asked(_PROMPTS[0], stops=frozenset({stop}))])[0]
    assert reason == "stop", f"{name}: it met a stop token, and ended with {reason!r}"
    assert tokens == wanted, f"{name}: with a stop token it gives {tokens}, where {wanted} come before that"


def _assert_refuses(name: str, engine: Engine) -> None:
    unknown = Request([5, 6], Sampling(max_new_tokens=2), adapter="no-such-adapter")
    refused = {
        "an empty prompt": _asked(()),
        "a prompt as long as the context": _asked([5] * engine.context_length),
        "an unknown adapter": unknown,
    }
    for what, request in refused.items():
        try:
            engine.stream([request]).close()
        except CamelidError:
            continue
        except Exception as error:
            raise AssertionError(
                f"{name}: {what} raises {type(error).__name__}; raise ModelError, with a sentence"
            ) from error
        raise AssertionError(f"{name}: {what} is not refused; `stream` raises ModelError")


def _assert_cancels(name: str, engine: Engine) -> None:
    with engine.stream([_asked(_PROMPTS[0], 64), _asked(_PROMPTS[1])]) as stream:
        cancelled, reasons, late = False, {}, 0
        for event in stream:
            if event.index == 0:
                late += cancelled and event.token is not None
                if not cancelled:
                    stream.cancel(0)
                    stream.cancel(0)
                    cancelled = True
            if event.finish:
                reasons[event.index] = event.finish
    assert reasons.get(0) == "cancelled", f"{name}: a request was cancelled, and ended with {reasons.get(0)!r}"
    assert late <= 1, f"{name}: {late} tokens came after a request was cancelled; at most one may be under way"
    assert reasons.get(1) == "length", f"{name}: one request was cancelled, and the other ended with {reasons.get(1)!r}"


def _assert_closes(name: str, engine: Engine) -> None:
    stream = engine.stream([_asked(_PROMPTS[0], 64)])
    next(iter(stream))
    stream.close()
    stream.close()
    left = [event.token for event in stream if event.token is not None]
    assert not left, f"{name}: a stream gave {len(left)} tokens after it was closed"
    stream.cancel(0)
