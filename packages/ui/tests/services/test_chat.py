"""Chat over a fake engine: loading, streaming, stopping, several models, continuing, failing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import camelid_ui.services.memory_check
import pytest
from camelid_core.errors import CamelidError, ModelError, UnknownName
from camelid_core.models.devices import Device
from camelid_core.records import Message
from camelid_serve.answers import AnswerDelta, AnswerStats
from camelid_serve.engine import Sampling
from camelid_serve.engine_process.messages import LoadProgress
from camelid_ui.access_profile import DEMO, NotPermitted
from camelid_ui.services.chat import ChatService, PageLeft
from camelid_ui.services.streaming_answers import Answer, AnswerRequest

STATS = AnswerStats("stop", tokens=2, prompt_tokens=3, seconds=0.1, first_token=0.05, tokens_per_second=20.0)
ASKED = [Message("user", "hello")]


class Reply:
    def __init__(self, text, error=None, endless=False):
        self.text, self.error, self.endless = text, error, endless
        self.cancelled = threading.Event()

    def __iter__(self):
        said = ""
        while self.endless and not self.cancelled.wait(0.01):
            said += "x"
            yield AnswerDelta(0, "x")
        for letter in self.text:
            said += letter
            yield AnswerDelta(0, letter)
        if self.error:
            raise self.error
        finish = "cancelled" if self.cancelled.is_set() else "stop"
        yield AnswerDelta(0, "", said, replace(STATS, finish=finish), ids=(7, 8))

    def cancel(self):
        self.cancelled.set()

    close = cancel


class Engine:
    """Answers with the prompt it was given. `errors` by name: what cannot be loaded."""

    def __init__(self, errors=None, endless=False, fails=None):
        self.models, self.errors, self.endless, self.fails = {}, errors or {}, endless, fails
        self.may_load = threading.Event()
        self.alive = True
        self.loads = []

    def load_all(self, models):
        yield LoadProgress(text="Reading the tokenizer")
        yield LoadProgress(text="Loading", file="model.safetensors", done=1, total=4)
        self.may_load.wait(5)
        self.models = {}
        for name in models:
            self.add(name, name)

    def add(self, label, name, report=None):
        self.loads.append(name)
        if name in self.errors:
            raise self.errors[name]
        self.models[label] = SimpleNamespace(model=name, context_length=512)

    def remove(self, label):
        del self.models[label]

    def chat(self, messages, sampling, tuned, model, prefix_ids):
        prefix_ids = "".join(map(str, prefix_ids))
        return Reply(
            f"{model}:{'tuned' if tuned else 'base'}:{messages[-1].content}{prefix_ids}", self.fails, self.endless
        )

    def close(self):
        self.alive = False


def loaded(services, name="tiny", beside="", **options):
    engine = Engine(**options)
    engine.may_load.set()
    chat = ChatService(services.models, engine)
    bring(chat, name, beside)
    return chat


def bring(chat, name, beside=""):
    chat.load(name, beside)
    wait(lambda: chat.status.state != "loading")


def wait(condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def texts(chat, *models):
    *_, last = chat.ask("s", [AnswerRequest(ASKED, model) for model in models], Sampling())
    return [answer.text for answer in last]


def test_loading_reports_its_progress(services, adapter):
    engine = Engine()
    chat = ChatService(services.models, engine)
    assert chat.status.state == "empty"
    chat.load(adapter)
    wait(lambda: chat.status.progress.file)
    assert (chat.status.state, chat.status.names) == ("loading", ())
    assert chat.status.progress == LoadProgress(text="Loading", file="model.safetensors", done=1, total=4)
    chat.load(adapter)  # from another page: it is being loaded
    with pytest.raises(ModelError, match="being loaded"):
        chat.load("tiny")
    engine.may_load.set()
    wait(lambda: chat.status.state == "ready")
    assert chat.status.names == (adapter, "tiny")
    engine.alive = False  # killed, say
    assert "has ended" in chat.status.error
    bring(chat, adapter)
    assert engine.loads == [adapter, adapter]


def test_what_cannot_be_loaded_is_reported(services):
    with pytest.raises(UnknownName):
        ChatService(services.models, Engine()).load("tinny")
    assert loaded(services, errors={"tiny": ModelError("too big")}).status.error == "too big"
    assert loaded(services, errors={"tiny": ZeroDivisionError("odd")}).status.error == "ZeroDivisionError: odd"


def test_an_answer_grows_and_ends_with_its_statistics(services):
    seen = [answers[0] for answers in loaded(services).ask("s", [AnswerRequest(ASKED)], Sampling())]
    assert seen[-1] == Answer("tiny:tuned:hello", STATS, ids=(7, 8))
    assert all(seen[-1].text.startswith(answer.text) for answer in seen)


def test_a_base_answers_beside_its_adapter_without_being_loaded(services, adapter):
    chat = loaded(services, adapter)
    bring(chat, adapter, "tiny")
    assert chat._engine.loads == [adapter]
    assert texts(chat, "tiny", adapter) == ["tuned:base:hello", "tuned:tuned:hello"]


def test_any_two_are_compared_and_the_second_alone_is_exchanged(services, adapter, home, tiny):
    for name in ("second", "third"):
        (home / "models" / name).symlink_to(tiny)
    chat = loaded(services, "tiny", "second")
    bring(chat, "tiny", "third")
    assert chat._engine.loads == ["tiny", "second", "third"]
    assert texts(chat, "third", "tiny") == ["third:tuned:hello", "tiny:tuned:hello"]
    with pytest.raises(ModelError, match="'second' is not loaded; tiny and third is"):
        texts(chat, "second")
    with pytest.raises(ModelError, match="both sides"):
        chat.load("tiny", "tiny")
    chat._engine.errors["second"] = ModelError("too big")
    bring(chat, "tiny", "second")
    assert (chat.status.state, chat.status.names, chat.status.error) == ("ready", ("tiny",), "too big")
    assert texts(chat, "tiny") == ["tiny:tuned:hello"]


def test_two_that_do_not_fit_are_refused_before_they_are_loaded(services, adapter, monkeypatch):
    from camelid_core.testing import tiny_model

    other = tiny_model(services.home / "models" / "other", "gpt_neox")
    chat = loaded(services)
    monkeypatch.setattr(camelid_ui.services.memory_check, "describe_device", lambda: Device("cpu", "", 10**9, 1000))
    chat.load("tiny", adapter)  # they share their base
    wait(lambda: chat.status.state == "ready")
    with pytest.raises(ModelError, match=r"tiny and other need 0.0 GB more memory, and 0.0 GB are free; compare with"):
        chat.load("tiny", other.name)
    assert chat.status.names == ("tiny", adapter)


def test_an_answer_is_continued_as_a_whole(services):
    before = Answer("hel", AnswerStats("length", 3, first_token=0.1, tokens_per_second=9.0), ids=(5, 6), rating=1)
    column = AnswerRequest([*ASKED, Message("assistant", "hel")], "tiny", before)
    first, *_, last = [answers[0] for answers in loaded(services).ask("s", [column], Sampling())]
    assert last.text == "tiny:tuned:hel56"
    assert (last.stats.tokens, last.rating, last.ids) == (5, 0, (7, 8))
    failed = loaded(services, fails=ModelError("gone")).ask("s", [column], Sampling())
    *_, last = [answers[0] for answers in failed]
    assert (last.stats.finish, last.error, last.ids) == ("failed", "gone", ())
    assert first.stats is None


def test_stop_ends_only_that_pages_answers(services):
    chat = loaded(services, endless=True)
    stream = chat.ask("mine", [AnswerRequest(ASKED)], Sampling())
    next(stream)
    assert chat.answering("mine")
    with pytest.raises(ModelError, match="being generated"):
        next(chat.ask("mine", [AnswerRequest(ASKED)], Sampling()))
    chat.stop("somebody else")
    next(stream)
    chat.stop("mine")
    *_, last = stream
    assert last[0].stats.finish == "cancelled"
    assert not chat.answering("mine")


def test_a_page_that_shows_another_conversation_gets_nothing_more(services):
    chat = loaded(services, endless=True)
    stream = chat.ask("mine", [AnswerRequest(ASKED)], Sampling())
    next(stream)
    leaving = threading.Thread(target=chat.leave, args=("mine",))
    leaving.start()
    with pytest.raises(PageLeft):
        list(stream)
    leaving.join()
    assert not chat.answering("mine")


def queued(services, answers, waiting):
    """The demo's chat, with a queue."""
    limits = {"models": ("tiny",), "concurrent_answers": answers, "waiting_answers": waiting}
    chat = loaded(services, endless=True)
    return replace(services, chat=chat, profile=DEMO.model_copy(update=limits)).chat


def test_a_full_queue_refuses(services):
    chat = queued(services, answers=2, waiting=0)
    under_way = [chat.ask(str(number), [AnswerRequest(ASKED)], Sampling()) for number in range(2)]
    for each in under_way:
        next(each)
    with pytest.raises(NotPermitted, match="try again"):
        next(chat.ask("third", [AnswerRequest(ASKED)], Sampling()))
    with pytest.raises(NotPermitted, match="try again"):
        chat.load("another")
    under_way[0].close()
    assert next(chat.ask("third", [AnswerRequest(ASKED)], Sampling()))
    assert not chat.answering("third")  # its iterator is gone


@pytest.mark.parametrize("action", ["stop", "leave"])
def test_a_waiting_request_is_known_and_can_be_cancelled(services, action):
    chat = queued(services, answers=1, waiting=2)
    first = chat.ask("first", [AnswerRequest(ASKED)], Sampling())
    next(first)
    ended = []

    def wait_in_queue():
        try:
            ended.extend(chat.ask("mine", [AnswerRequest(ASKED)], Sampling()))
        except (ModelError, PageLeft) as problem:
            ended.append(problem)

    waiting = threading.Thread(target=wait_in_queue)
    waiting.start()
    wait(lambda: chat.answering("mine"))
    with pytest.raises(ModelError, match="being generated"):
        next(chat.ask("mine", [AnswerRequest(ASKED)], Sampling()))
    getattr(chat, action)("mine")
    waiting.join(5)
    (problem,) = ended
    assert isinstance(problem, PageLeft if action == "leave" else ModelError)
    assert not chat.answering("mine")
    assert next(first)
    first.close()
    assert next(chat.ask("mine", [AnswerRequest(ASKED)], Sampling()))


def test_a_failure_is_shown_at_the_answer(services):
    *_, last = loaded(services, fails=ModelError("the model's process ended")).ask(
        "s", [AnswerRequest(ASKED)], Sampling()
    )
    assert last[0].error == "the model's process ended"


def test_nothing_is_generated_without_a_model(services):
    with pytest.raises(ModelError, match="no model is chosen"):
        next(ChatService(services.models, Engine()).ask("s", [AnswerRequest(ASKED)], Sampling()))


class Page(threading.Thread):
    """A page that asks these models, loaded or not; `said` is what it is given in the end."""

    def __init__(self, chat, session, *models):
        super().__init__(daemon=True)
        self.chat, self.session, self.models, self.said = chat, session, models, None
        self.start()
        wait(lambda: chat.answering(session) or not self.is_alive())

    def run(self):
        try:
            requests = [AnswerRequest(ASKED, name) for name in self.models if name]
            *_, last = self.chat.ask(self.session, requests, Sampling(), self.models)
            self.said = [answer.text for answer in last]
        except (CamelidError, PageLeft) as problem:
            self.said = problem

    @property
    def result(self):
        self.join(60)
        assert not self.chat.answering(self.session)
        return self.said


@pytest.mark.parametrize("models", [("tiny",), ("tuned", "tiny"), ("tuned", "second"), ("tuned", "")])
def test_a_question_loads_what_it_needs_and_one_load_is_enough_for_all_pages(services, adapter, home, tiny, models):
    (home / "models" / "second").symlink_to(tiny)
    chat = ChatService(services.models, Engine())
    pages = [Page(chat, session, *models) for session in ("mine", "another")]
    wait(lambda: chat.status.progress.file)
    assert all(chat.answering(page.session) for page in pages)
    chat._engine.may_load.set()
    for page in pages:
        assert [text.split(":")[2] for text in page.result] == ["hello"] * len([name for name in models if name])
    loads = list(chat._engine.loads)
    assert len(loads) == len({*models} - {"", "tiny" if "tuned" in models else ""})
    assert Page(chat, "mine", *models).result
    assert chat._engine.loads == loads  # nothing to do


def test_a_question_for_another_model_exchanges_the_loaded_one(services, home, tiny):
    (home / "models" / "second").symlink_to(tiny)
    chat = loaded(services)
    assert Page(chat, "mine", "second").result == ["second:tuned:hello"]
    chat._engine.alive = False  # killed, say: the next question loads it again
    chat._engine.load_all = lambda models, load=chat._engine.load_all: (
        setattr(chat._engine, "alive", True),
        load(models),
    )[1]
    assert Page(chat, "mine", "second").result == ["second:tuned:hello"]


def test_a_question_whose_model_cannot_be_loaded_is_given_back_with_the_reason(services, adapter, home, tiny):
    (home / "models" / "second").symlink_to(tiny)
    chat = loaded(services, errors={"tiny": ModelError("too big."), "second": ModelError("too wide.")})
    assert str(Page(chat, "mine", "tiny").result) == "'tiny' could not be loaded: too big."
    assert str(Page(chat, "mine", adapter, "second").result) == "'second' could not be loaded: too wide."
    assert "tinny" in str(Page(chat, "mine", "tinny").result)
    chat._engine.errors.clear()
    assert Page(chat, "mine", "second").result == ["second:tuned:hello"]


@pytest.mark.parametrize("action", ["stop", "leave"])
def test_a_question_that_waits_for_its_model_can_be_taken_back(services, action):
    chat = ChatService(services.models, Engine())
    page = Page(chat, "mine", "tiny")
    wait(lambda: chat.status.progress.file)
    getattr(chat, action)("mine")
    assert isinstance(page.result, PageLeft if action == "leave" else ModelError)
    chat._engine.may_load.set()  # loading goes on, as another page may wait for it
    wait(lambda: chat.status.state == "ready")
    assert Page(chat, "mine", "tiny").result == ["tiny:tuned:hello"]


def test_a_question_unloads_nothing_that_another_page_needs(services, home, tiny):
    (home / "models" / "second").symlink_to(tiny)
    chat = ChatService(services.models, Engine())
    chat.load("tiny")
    assert "'tiny' is being loaded" in str(Page(chat, "mine", "second").result)
    chat._engine.may_load.set()
    wait(lambda: chat.status.state == "ready")
    chat._engine.endless = True
    under_way = chat.ask("another", [AnswerRequest(ASKED)], Sampling(), ("tiny",))
    next(under_way)
    assert "tiny is answering on another page" in str(Page(chat, "mine", "second").result)
    under_way.close()
    chat._engine.endless = False
    assert Page(chat, "mine", "second").result == ["second:tuned:hello"]


def test_the_demo_loads_its_own_models_alone_for_a_question(services, tiny):
    chat = queued(services, answers=1, waiting=2)
    assert isinstance(Page(chat, "mine", str(tiny)).result, NotPermitted)
    assert chat._engine.loads == ["tiny"]
