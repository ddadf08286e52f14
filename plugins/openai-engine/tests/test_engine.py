"""The engine against a real server with a tiny model: what it answers is what the model answers in this process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from camelid_core.errors import ModelError, UnknownName
from camelid_core.plugins import load_host
from camelid_openai_engine.engine import HttpEngine
from camelid_openai_engine.loading import connect
from camelid_openai_engine.options import ClientOptions
from camelid_serve.answering import ask
from camelid_serve.assemble import Assembled, assemble
from camelid_serve.engine import PromptTooLong, Request, Sampling, TokenEvent

LONG = Sampling(max_new_tokens=400)


@pytest.fixture(scope="module")
def engine(served: str, reference: Any) -> Iterator[HttpEngine]:
    engine = connect(reference, "auto", 4, ClientOptions(url=served), lambda text: None)
    yield engine
    engine.close()


def test_who_the_server_is_and_how_long_its_context_is(served: str, reference: Any) -> None:
    told: list[str] = []
    opened = connect(reference, "auto", 4, ClientOptions(url=served), told.append)
    opened.close()
    assert opened.context_length == 512
    assert told[0].startswith(f"Camelid at {served.removesuffix('/v1')} answers as 'tiny'. Prompts go out and answers")


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_new_tokens=24),
        Sampling(max_new_tokens=24, temperature=1.0, top_k=40, top_p=0.9, repetition_penalty=1.2, seed=7),
    ],
)
def test_tokens_and_probabilities_are_those_of_the_model(
    engine: HttpEngine, tiny: Assembled, sampling: Sampling
) -> None:
    requests = [Request(ids, sampling, None, tiny.stops, 3) for ids in ([40, 41, 42], [50], list(range(60, 90)))]
    ours, theirs = collect(tiny.engine, requests), collect(engine, requests)
    assert [[event.token for event in row] for row in theirs] == [[event.token for event in row] for row in ours]
    assert [row[-1].finish for row in theirs] == [row[-1].finish for row in ours]
    for mine, other in zip(ours, theirs, strict=True):
        pairs = [(one.scored, two.scored) for one, two in zip(mine, other, strict=True) if one.token is not None]
        assert all(two is not None and two.token == one.token for one, two in pairs)
        assert all(two.logprob == pytest.approx(one.logprob, abs=1e-4) for one, two in pairs)
        assert all([token for token, _ in two.top][:3] == [token for token, _ in one.top] for one, two in pairs)


def collect(engine: Any, requests: list[Request]) -> list[list[TokenEvent]]:
    """Events by request; an end that comes with the last token counts as one that comes behind it."""
    rows: list[list[TokenEvent]] = [[] for _ in requests]
    with engine.stream(requests) as stream:
        for event in stream:
            if event.token is not None:
                rows[event.index].append(TokenEvent(event.index, event.token, None, event.scored))
            if event.finish is not None:
                rows[event.index].append(TokenEvent(event.index, None, event.finish))
    return rows


def test_a_stop_token_ends_an_answer_though_the_server_would_go_on(engine: HttpEngine, tiny: Assembled) -> None:
    ids = [40, 41, 42]
    said = [event.token for event in collect(engine, [Request(ids, Sampling(max_new_tokens=12))])[0]]
    stop = said[5]
    row = collect(engine, [Request(ids, Sampling(max_new_tokens=12), None, frozenset({stop}))])[0]
    assert [event.token for event in row] == [*said[: said.index(stop)], None]
    assert row[-1].finish == "stop"


def test_text_comes_as_it_does_from_the_model_itself(served: str, base: Any, tiny: Assembled) -> None:
    other = assemble(str(base), load_host(), engine=f"openai url={served}", slots=4)
    try:
        prompts = [[40, 41, 42], [70, 71]]
        here, there = ([], [])
        for assembled, said in ((tiny, here), (other, there)):
            with ask(assembled, prompts, Sampling(max_new_tokens=20)) as answers:
                said += sorted((delta.index, delta.answer, delta.ids) for delta in answers if delta.facts)
        assert there == here
    finally:
        other.close()


def test_many_at_once_and_one_cancelled(
    engine: HttpEngine, metric: Callable[[str], float], until: Callable[..., None]
) -> None:
    requests = [Request([40 + number], LONG) for number in range(12)]
    ends: dict[int, str] = {}
    with engine.stream(requests) as stream:
        for event in stream:
            if event.index == 3 and event.token is not None:
                stream.cancel(3)
            if event.finish is not None:
                ends[event.index] = event.finish
    assert ends.pop(3) == "cancelled"
    assert set(ends.values()) <= {"length", "stop"}
    assert len(ends) == 11
    until(lambda: metric("camelid_slots_taken") == 0)


def test_leaving_closes_the_connections_and_the_server_hears_of_it(
    engine: HttpEngine, metric: Callable[[str], float], until: Callable[..., None]
) -> None:
    before = metric("camelid_clients_left_total")
    with engine.stream([Request([40], LONG), Request([41], LONG)]) as stream:
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)
    until(lambda: metric("camelid_slots_taken") == 0)
    assert metric("camelid_clients_left_total") >= before


def test_streams_of_several_threads_run_together(engine: HttpEngine) -> None:
    asked = [Request([40, 41], Sampling(max_new_tokens=30))]
    alone = [event.token for event in collect(engine, asked)[0]]
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append([event.token for event in collect(engine, asked)[0]]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 6


def test_what_cannot_be_asked_is_said_at_once(engine: HttpEngine) -> None:
    with pytest.raises(UnknownName, match="adapter 'none'"):
        engine.stream([Request([1], adapter="none")])
    with pytest.raises(ModelError, match="prompt is empty"):
        engine.stream([Request([])])
    with pytest.raises(PromptTooLong):
        engine.stream([Request([1] * 512)])


def test_an_engine_that_is_closed_says_so(served: str, reference: Any) -> None:
    engine = connect(reference, "auto", 4, ClientOptions(url=served), lambda text: None)
    stream = engine.stream([Request([40], LONG)])
    next(stream)
    engine.close()
    with pytest.raises(ModelError, match="unloaded before the answer was complete"):
        list(stream)
    with pytest.raises(ModelError, match="load it again"):
        engine.stream([Request([40])])


@pytest.mark.slow
def test_parity_of_the_model_here_and_there(served: str, base: Any) -> None:
    options = [
        "--engines",
        "transformers,openai",
        "--engine-option",
        f"openai.url={served}",
        "--tokens",
        "24",
        "--json",
    ]
    command = [sys.executable, "-m", "camelid_core.cli", "eval", "parity", str(base), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["equal"] is True
    assert said["compared"][0]["equal"] == said["compared"][0]["prompts"] == 8


def test_a_model_the_server_does_not_have(served: str, reference: Any) -> None:
    with pytest.raises(ModelError, match=r"no model 'other'; it lists 'tiny'. Name one of them: model=NAME"):
        connect(reference, "auto", 4, ClientOptions(url=served, model="other"), lambda text: None)
