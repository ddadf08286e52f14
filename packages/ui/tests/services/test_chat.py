"""Chat over an engine that is only pretended: loading, streaming, stopping, two columns, failing."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from camelid_core.errors import ModelError, UnknownName
from camelid_core.records import Message
from camelid_serve.engine import Sampling
from camelid_serve.remote import ChatEvent
from camelid_ui.services.chat import Chat, Column

FACTS = {
    "finish": "stop",
    "tokens": 2,
    "prompt_tokens": 3,
    "seconds": 0.1,
    "first_token": 0.05,
    "tokens_per_second": 20.0,
}
ASKED = [Message("user", "hello")]


class Reply:
    def __init__(self, text, error=None, endless=False):
        self.text, self.error, self.endless = text, error, endless
        self.cancelled = threading.Event()

    def __iter__(self):
        said = ""
        while self.endless and not self.cancelled.wait(0.01):
            said += "x"
            yield ChatEvent("x")
        for letter in self.text:
            said += letter
            yield ChatEvent(letter)
        if self.error:
            raise self.error
        yield ChatEvent(answer=said, facts=FACTS | {"finish": "cancelled" if self.cancelled.is_set() else "stop"})

    def cancel(self):
        self.cancelled.set()

    close = cancel


class Engine:
    """Answers with what it was asked."""

    def __init__(self, has_adapter=True, error=None, endless=False, fails=None):
        self.loaded, self.has_adapter, self.error, self.endless, self.fails = None, has_adapter, error, endless, fails
        self.may_load = threading.Event()
        self.closed = False

    def load(self, model, template=""):
        yield "Reading the tokenizer"
        self.may_load.wait(5)
        if self.error:
            raise self.error
        self.loaded = SimpleNamespace(model=model, has_adapter=self.has_adapter)

    def chat(self, messages, sampling, tuned):
        return Reply(f"{'tuned' if tuned else 'base'}:{messages[-1].content}", self.fails, self.endless)

    def close(self):
        self.closed = True


def loaded(services, **options):
    engine = Engine(**options)
    engine.may_load.set()
    chat = Chat(services.models, engine)
    chat.load("tiny")
    wait(lambda: chat.status.state != "loading")
    return chat


def wait(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_loading_tells_how_it_goes(services):
    engine = Engine()
    chat = Chat(services.models, engine)
    assert chat.status.state == "empty"
    chat.load("tiny")
    wait(lambda: chat.status.step)
    assert (chat.status.state, chat.status.step) == ("loading", "Reading the tokenizer")
    with pytest.raises(ModelError, match="being loaded"):
        chat.load("tiny")
    engine.may_load.set()
    wait(lambda: chat.status.state == "ready")
    assert chat.status.tuned
    chat.close()
    assert engine.closed


def test_what_cannot_be_loaded_is_said(services):
    with pytest.raises(UnknownName):
        Chat(services.models, Engine()).load("tinny")
    assert loaded(services, error=ModelError("too big")).status.error == "too big"
    assert loaded(services, error=ZeroDivisionError("odd")).status.error == "ZeroDivisionError: odd"


def test_an_answer_grows_and_ends_with_its_facts(services):
    seen = [answers[0] for answers in loaded(services).ask("s", [Column(ASKED)], Sampling())]
    assert seen[-1].text == "tuned:hello"
    assert (seen[-1].facts.tokens, seen[-1].facts.finish) == (2, "stop")
    assert all("tuned:hello".startswith(answer.text) for answer in seen)


def test_two_columns_answer_at_once(services):
    columns = [Column(ASKED, tuned=False), Column(ASKED)]
    *_, last = loaded(services).ask("s", columns, Sampling())
    assert [answer.text for answer in last] == ["base:hello", "tuned:hello"]
    assert all(answer.facts for answer in last)


def test_stop_ends_only_that_pages_answers(services):
    chat = loaded(services, endless=True)
    stream = chat.ask("mine", [Column(ASKED)], Sampling())
    next(stream)
    chat.stop("somebody else")
    next(stream)
    chat.stop("mine")
    *_, last = stream
    assert last[0].facts.finish == "cancelled"


def test_a_failure_is_told_at_the_answer(services):
    *_, last = loaded(services, fails=ModelError("the model's process ended")).ask("s", [Column(ASKED)], Sampling())
    assert last[0].error == "the model's process ended"


def test_nothing_is_asked_without_a_model(services):
    with pytest.raises(ModelError, match="no model is loaded"):
        next(Chat(services.models, Engine()).ask("s", [Column(ASKED)], Sampling()))
