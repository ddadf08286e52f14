"""The engine against a real server with a tiny model: its answers are those of the model in this process."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest
from camelid_core.errors import CamelidError, ModelError, UnknownName
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_tokenizer
from camelid_openai_engine.adapters import ListedAdapters
from camelid_openai_engine.engine import EventLoopThread, HttpEngine
from camelid_openai_engine.flavours import FLAVOURS
from camelid_openai_engine.loading import connect
from camelid_openai_engine.options import ClientOptions
from camelid_openai_engine.wire_formats import CompletionChunk
from camelid_serve.commands.chat import chat
from camelid_serve.config import EngineConfig
from camelid_serve.engine import PromptTooLong, Request, Sampling, TokenEvent
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel, LoadedModels, load_model

from .upstreams import Answer, models, sse, upstream

LONG = Sampling(max_new_tokens=60_000)
"""For the model that never ends: minutes."""
TOKEN = Sampling(max_new_tokens=1)
DONE = sse({"choices": [{"index": 0, "text": "", "token_ids": [65], "finish_reason": "length"}]})


@pytest.fixture(scope="module")
def engine(served: str, resolved: Any) -> Iterator[HttpEngine]:
    engine = connect(resolved, "auto", 4, ClientOptions(url=served), lambda text: None)
    yield engine
    engine.close()


@pytest.fixture
def talker(served: str, endless: Any) -> Iterator[HttpEngine]:
    """An engine whose model never ends an answer by itself."""
    resolved = resolve_model(str(endless), load_host())
    engine = connect(resolved, "auto", 4, ClientOptions(url=served), lambda text: None)
    yield engine
    engine.close()


def test_who_the_server_is_and_how_long_its_context_is(served: str, resolved: Any) -> None:
    told: list[str] = []
    opened = connect(resolved, "auto", 4, ClientOptions(url=served), told.append)
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
    engine: HttpEngine, tiny: LoadedModel, sampling: Sampling
) -> None:
    requests = [Request(ids, sampling, None, tiny.stops, 3) for ids in ([40, 41, 42], [50], list(range(60, 90)))]
    ours, theirs = collect(tiny.engine, requests), collect(engine, requests)
    assert [[event.token for event in row] for row in theirs] == [[event.token for event in row] for row in ours]
    assert [row[-1].finish for row in theirs] == [row[-1].finish for row in ours]
    for mine, other in zip(ours, theirs, strict=True):
        pairs = [
            (one.token_logprob, two.token_logprob)
            for one, two in zip(mine, other, strict=True)
            if one.token is not None
        ]
        assert all(two is not None and two.token == one.token for one, two in pairs)
        assert all(two.logprob == pytest.approx(one.logprob, abs=1e-4) for one, two in pairs)
        assert all([token for token, _ in two.top][:3] == [token for token, _ in one.top] for one, two in pairs)


def collect(engine: Any, requests: list[Request]) -> list[list[TokenEvent]]:
    """Events by request; an end that comes with the last token counts as one that comes behind it."""
    rows: list[list[TokenEvent]] = [[] for _ in requests]
    with engine.stream(requests) as stream:
        for event in stream:
            if event.token is not None:
                rows[event.index].append(TokenEvent(event.index, event.token, None, event.token_logprob))
            if event.finish is not None:
                rows[event.index].append(TokenEvent(event.index, None, event.finish))
    return rows


def test_a_stop_token_ends_an_answer_though_the_server_would_go_on(engine: HttpEngine, tiny: LoadedModel) -> None:
    ids = [40, 41, 42]
    said = [event.token for event in collect(engine, [Request(ids, Sampling(max_new_tokens=12))])[0]]
    stop = said[5]
    row = collect(engine, [Request(ids, Sampling(max_new_tokens=12), None, frozenset({stop}))])[0]
    assert [event.token for event in row] == [*said[: said.index(stop)], None]
    assert row[-1].finish == "stop"


def test_text_comes_as_it_does_from_the_model_itself(served: str, base: Any, tiny: LoadedModel) -> None:
    other = load_model(str(base), load_host(), EngineConfig(engine=f"openai url={served}", slots=4))
    try:
        prompts = [[40, 41, 42], [70, 71]]
        here, there = ([], [])
        for loaded, said in ((tiny, here), (other, there)):
            with generate(loaded, prompts, Sampling(max_new_tokens=20)) as answers:
                said += sorted((delta.index, delta.answer, delta.ids) for delta in answers if delta.stats)
        assert there == here
    finally:
        other.close()


def test_the_chat_command_asks_a_server_too(
    served: str, base: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    for engine, url in (("transformers", ""), ("openai", served)):
        chat(str(base), question="Hello?", max_new_tokens=9, engine=engine, engine_url=url)
        said.append(capsys.readouterr())
    assert said[0].out == said[1].out != ""
    assert "Camelid at" in said[1].err
    monkeypatch.setattr("camelid_serve.loaded_models.load_model", None)  # none of these comes to load anything
    for options, words in (
        ({"engine": "openay"}, "mean 'openai'"),
        ({"engine": "openai"}, "url: required"),
        ({"engine": "openai", "engine_url": served, "engine_option": ["flavor=vllm"]}, "mean 'flavour'"),
        ({"engine_url": served}, "takes no settings"),
        ({"template": "alpacca"}, "mean 'alpaca'"),
    ):
        with pytest.raises(CamelidError, match=words):
            chat(str(base), question="Hello?", **options)  # type: ignore[arg-type]


def test_many_at_once_and_one_cancelled(
    talker: HttpEngine, metric: Callable[[str], float], until: Callable[..., None]
) -> None:
    requests = [Request([40 + number], LONG if number == 3 else Sampling(max_new_tokens=40)) for number in range(12)]
    ends: dict[int, str] = {}
    with talker.stream(requests) as stream:
        for event in stream:
            if event.index == 3 and event.token is not None:
                stream.cancel(3)
            if event.finish is not None:
                ends[event.index] = event.finish
    assert ends == {number: "cancelled" if number == 3 else "length" for number in range(12)}
    until(lambda: metric("camelid_slots_taken") == 0)


def test_leaving_closes_the_connections_and_the_server_hears_of_it(
    talker: HttpEngine, metric: Callable[[str], float], until: Callable[..., None]
) -> None:
    before = metric("camelid_clients_left_total")
    with talker.stream([Request([40], LONG), Request([41], LONG)]) as stream:
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)
    until(lambda: metric("camelid_slots_taken") == 0)
    assert metric("camelid_clients_left_total") > before


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


def test_an_engine_that_is_closed_says_so(talker: HttpEngine) -> None:
    stream = talker.stream([Request([40], LONG)])
    next(stream)
    talker.close()
    with pytest.raises(ModelError, match="unloaded before the answer was complete"):
        list(stream)
    with pytest.raises(ModelError, match="load it again"):
        talker.stream([Request([40])])


def test_an_adapter_goes_when_those_who_asked_for_it_are_answered(resolved: Any, until: Callable[..., None]) -> None:
    """Who comes now is refused; whoever asks for something else notices nothing, nor does what is loaded meanwhile."""
    answer, told = threading.Event(), list[str]()

    class Noting(ListedAdapters):
        def unload_request(self, name: str) -> tuple[str, dict[str, str]]:
            return "/unload", {"lora_name": name}

        def remove(self, name: str) -> None:
            told.append(name)

    def respond(path: str, body: Any) -> Answer:
        if body is None:
            return models("vllm", "tiny", "mine", "other")
        if path == "/unload":
            return (200, {}, b"") if body["lora_name"] == "mine" else (500, {}, b"it stays")
        if body["model"] == "mine":
            answer.wait()
        return DONE

    with upstream(respond) as (url, asked):
        engine = connect(resolved, "auto", 3, ClientOptions(url=url), lambda text: None)
        engine._registry = Noting([], url)
        engine.name_adapter("mine", "mine")
        stream = engine.stream([Request([1], TOKEN, "mine"), Request([2], TOKEN, "mine")])
        until(lambda: sum(bool(body) and body["model"] == "mine" for _, body, _ in asked) == 2)
        engine.remove_adapter("mine")
        assert engine.adapters == ()
        with pytest.raises(UnknownName, match="adapter 'mine'"):
            engine.stream([Request([3], TOKEN, "mine")])
        engine.name_adapter("other", "other")
        for adapter in (None, "other"):
            assert collect(engine, [Request([4], TOKEN, adapter)])[0][-1].finish == "length"
        assert told == []
        answer.set()
        assert sorted((event.index, event.finish) for event in stream if event.finish) == [(0, "length"), (1, "length")]
        until(lambda: told == ["mine"])
        assert ("/unload", {"lora_name": "mine"}) in [each[:2] for each in asked]
        with pytest.raises(ModelError, match="it stays"):  # nobody asks for it: it goes at once, or it is said why not
            engine.remove_adapter("other")
        engine.close()


def test_models_of_one_base_share_a_server_and_come_and_go(base: Any, adapter: Any, tmp_path: Any) -> None:
    other = str(shutil.copytree(adapter, tmp_path / "other"))
    names = [base.name, "mine", "other"]
    with upstream(lambda path, body: models("vllm", *names) if body is None else DONE) as (url, _):
        loaded_models, host = LoadedModels(), load_host()
        wanted = {"bare": str(base), "one": str(adapter), "two": other}
        loaded_models.load(wanted, host, EngineConfig(engine=f"openai url={url}", slots=2))
        (engine,) = {each.engine for each in loaded_models.models.values()}
        assert engine.adapters == ("mine", "other")
        loaded_models.remove("two")
        assert engine.adapters == ("mine",)
        loaded_models.add("two", other, host, share=True)
        assert loaded_models.models["two"].engine is engine
        loaded_models.close()


def test_nothing_comes_after_the_end_though_leaving_the_connection_is_cut_short(resolved: Any) -> None:
    """The first answer is cancelled behind its end, while its connection is closed; the second is told whole."""

    class Slow:
        def __init__(self) -> None:
            self.cut = asyncio.Event()

        async def answer(self, wire_format: Any, body: Any, token_of: Any) -> AsyncGenerator[CompletionChunk, None]:
            if body["prompt"] == [1]:
                try:
                    yield CompletionChunk(ids=(7,), finish="length")
                finally:
                    try:
                        await asyncio.Event().wait()
                    finally:
                        self.cut.set()
            else:
                await self.cut.wait()
                for _ in range(9):
                    await asyncio.sleep(0)
                yield CompletionChunk(ids=(8,), finish="length")

        async def close(self) -> None: ...

    registry, slow = ListedAdapters([], "there"), Slow()
    engine = HttpEngine(EventLoopThread(), slow, FLAVOURS["vllm"], "tiny", tiny_tokenizer(), 512, 2, registry)  # type: ignore[arg-type]
    stream = engine.stream([Request([1], TOKEN), Request([2], TOKEN)])
    told = [next(stream), next(stream)]
    stream.cancel(0)
    told += stream
    engine.close()
    assert [(event.index, event.token, event.finish) for event in told] == [
        *((0, 7, None), (0, None, "length")),
        *((1, 8, None), (1, None, "length")),
    ]


@pytest.mark.slow
def test_parity_of_the_model_here_and_there(served: str, base: Any) -> None:
    options = [
        "--engines",
        "transformers,openai",
        "--engine-option",
        f"openai.url={served}",
        "--tokens",
        "24",
        "--dtype",
        "float32",  # as what is served
        "--json",
    ]
    command = [sys.executable, "-m", "camelid_core.cli", "eval", "parity", str(base), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["equal"] is True
    assert said["compared"][0]["equal"] == said["compared"][0]["prompts"] == 8


def test_a_model_the_server_does_not_have(served: str, resolved: Any) -> None:
    with pytest.raises(ModelError, match=r"no model 'other'; it lists 'tiny', 'endless'. Name one of them: model=NAME"):
        connect(resolved, "auto", 4, ClientOptions(url=served, model="other"), lambda text: None)
