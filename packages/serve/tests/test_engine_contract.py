"""The contract of engines: ours and the one that plugins begin with keep it, and each rule is broken by one here."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
from camelid_core.plugin_kit.plugin_name import PluginName
from camelid_core.plugin_kit.skeleton import plugin_files
from camelid_core.plugins import load_host
from camelid_serve.engine import EngineKind, PromptTooLong, TokenEvent
from camelid_serve.plugin_kinds import KINDS
from camelid_serve.testing import assert_engine_contract


def test_our_engine_keeps_the_contract(base):
    assert_engine_contract(load_host().registry("camelid_engines")["transformers"], base)


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """The module with the engine that `camelid plugins new` writes."""
    path = tmp_path_factory.mktemp("echo") / "engine.py"
    path.write_text(plugin_files(KINDS[0], PluginName("echo"), "0.1.0")["src/echo/engine.py"])
    spec = importlib.util.spec_from_file_location("echo_engine", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Kind(EngineKind):
    """An engine that is there already."""

    def open(self, *_):
        return self.load


def kind(engine) -> EngineKind:
    return Kind("broken", "Broken.", engine)


def test_the_engine_that_plugins_begin_with_keeps_it(echo, base):
    assert_engine_contract(kind(echo.EchoEngine(512)), base)


def one_more(stream, event, index, count):
    """It stops a token late."""
    longest = stream._requests[index].sampling.max_new_tokens
    return replace(event, finish="length" if count == longest else None) if event.token is not None else event


def twice(stream, event, index, count):
    """The second token of an answer has its end already."""
    return replace(event, finish="length") if count == 1 and event.token is not None else event


def with_stop_token(stream, event, index, count):
    return replace(event, token=stream._next_token(stream._requests[index], count)) if event.finish == "stop" else event


def as_text(stream, event, index, count):
    return event if event.token is None else replace(event, token=str(event.token))


def crowded(stream, event, index, count):
    """The tokens depend on how many requests there are."""
    return event if event.token is None else replace(event, token=event.token + len(stream._requests))


def other_index(stream, event, index, count):
    return replace(event, index=len(stream._requests))


def always_stop(stream, event, index, count):
    return replace(event, finish="stop") if event.finish == "length" else event


EVENTS = {
    one_more: "6 tokens were asked for, and 7 came",
    twice: "6 tokens were asked for, and 2 came",
    with_stop_token: "with a stop token it gives",
    as_text: "the token '5' is no plain int",
    crowded: "greedy answers change with what else is in the stream",
    other_index: "an event of request 1, which is none",
    always_stop: "no stop token was given, and an answer ended with 'stop'",
}


@pytest.mark.parametrize("change", EVENTS, ids=lambda change: change.__name__)
def test_events_that_break_a_rule_are_named(echo, base, monkeypatch, change):
    event = echo.EchoStream._event
    monkeypatch.setattr(
        echo.EchoStream, "_event", lambda self, index, count: change(self, event(self, index, count), index, count)
    )
    with pytest.raises(AssertionError, match=f"broken: {EVENTS[change]}"):
        assert_engine_contract(kind(echo.EchoEngine(512)), base)


def runs_on(self):
    """Its answers go on after their end."""
    for count in range(8):
        for index in range(len(self._requests)):
            yield TokenEvent(index, 5, "length" if count == 5 else None)


def stops_short(self):
    yield TokenEvent(0, 5)


STREAMS = {
    "_run": [(runs_on, "an event came after the end of its answer"), (stops_short, "a stream ended before all of its")],
    "cancel": [(lambda self, index: None, "a request was cancelled, and ended with 'length'")],
    "close": [(lambda self: None, "a stream gave 63 tokens after it was closed")],
}


@pytest.mark.parametrize(
    ("method", "change", "sentence"), [(method, *pair) for method, pairs in STREAMS.items() for pair in pairs]
)
def test_streams_that_break_a_rule_are_named(echo, base, monkeypatch, method, change, sentence):
    monkeypatch.setattr(echo.EchoStream, method, change)
    with pytest.raises(AssertionError, match=f"broken: {sentence}"):
        assert_engine_contract(kind(echo.EchoEngine(512)), base)


def cancels_all(self, index):
    self._cancelled |= set(range(len(self._requests)))


def test_a_request_that_is_cancelled_with_another_is_named(echo, base, monkeypatch):
    monkeypatch.setattr(echo.EchoStream, "cancel", cancels_all)
    with pytest.raises(AssertionError, match="broken: one request was cancelled, and the other ended with 'cancelled'"):
        assert_engine_contract(kind(echo.EchoEngine(512)), base)


def accepts_empty(self, request):
    if request.adapter or len(request.ids) >= self.context_length:
        raise PromptTooLong(len(request.ids), self.context_length)


def accepts_long(self, request):
    if request.adapter or not request.ids:
        raise PromptTooLong(len(request.ids), self.context_length)


def accepts_adapters(self, request):
    if not request.ids or len(request.ids) >= self.context_length:
        raise PromptTooLong(len(request.ids), self.context_length)


def raises_value_error(self, request):
    if not request.ids:
        raise ValueError("empty")


CHECKS = {
    accepts_empty: "an empty prompt is not refused",
    accepts_long: "a prompt as long as the context is not refused",
    accepts_adapters: "an unknown adapter is not refused",
    raises_value_error: "an empty prompt raises ValueError",
}


@pytest.mark.parametrize("change", CHECKS, ids=lambda change: change.__name__)
def test_requests_that_should_be_refused_are_named(echo, base, monkeypatch, change):
    monkeypatch.setattr(echo.EchoEngine, "_check", change)
    with pytest.raises(AssertionError, match=f"broken: {CHECKS[change]}"):
        assert_engine_contract(kind(echo.EchoEngine(512)), base)


def test_a_context_without_length_and_a_name_that_cannot_be_typed_are_named(echo, base):
    with pytest.raises(AssertionError, match="broken: its context length is 0"):
        assert_engine_contract(kind(echo.EchoEngine(0)), base)
    with pytest.raises(AssertionError, match="the name 'two words' has other characters"):
        assert_engine_contract(EngineKind("two words", "Broken.", "nowhere:load"), base)


def test_streams_that_do_not_go_together_are_named(echo, base, monkeypatch):
    """From the fifth stream on, answers are others: those are the ones that are open at once."""
    check, open_streams = echo.EchoEngine._check, []

    def mixed_up(self, requests):
        for request in requests:
            check(self, request)
        stream = echo.EchoStream(requests, self.context_length)
        open_streams.append(stream)
        return Mixed(stream) if len(open_streams) > 4 else stream

    class Mixed:
        """Gives other tokens than a stream by itself."""

        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def __iter__(self):
            return (replace(event, token=7) for event in self.stream)

    monkeypatch.setattr(echo.EchoEngine, "stream", mixed_up)
    with pytest.raises(AssertionError, match="broken: streams that are open at once give other answers"):
        assert_engine_contract(kind(echo.EchoEngine(512)), base)
