"""A conversation's history, retry, stop, and the statistics of an answer."""

from __future__ import annotations

import time

import pytest
from camelid_core.errors import ModelError, UsageError
from camelid_core.records import Message
from camelid_serve.chat.session import ChatSession
from camelid_serve.engine import Sampling, TokenEvent
from camelid_serve.generation import StreamingAnswer, generate
from camelid_serve.loaded_models import LoadedModel

SHORT = Sampling(max_new_tokens=8)


def test_speed_is_that_of_the_engine_however_late_its_events_are_read(tiny: LoadedModel) -> None:
    answer, now = StreamingAnswer(tiny, [5, 6, 7], SHORT, plain=True), time.monotonic()
    events = [TokenEvent(0, token, at=now + after) for token, after in ((5, 1), (6, 2), (7, 3))]
    last = [answer.take(event) for event in (*events, TokenEvent(0, finish="length", at=now + 3))][-1]
    assert last is not None
    assert last.stats is not None
    assert last.stats.tokens_per_second == pytest.approx(1.0)


def test_turns_become_history(tiny: LoadedModel) -> None:
    session = ChatSession(tiny, SHORT, system="Be kind.")
    first = "".join(session.send("Hello?"))
    assert session.stats is not None
    assert session.stats.prompt_tokens == len(tiny.prompt_ids(session.messages[:2]))
    assert 0 < session.stats.first_token <= session.stats.seconds
    list(session.send("And now?"))
    assert [message.role for message in session.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert session.turns[1].content == first


def test_retry_answers_the_last_question_with_another_seed(tiny: LoadedModel) -> None:
    session = ChatSession(tiny, Sampling(temperature=1.5, max_new_tokens=12))
    with pytest.raises(UsageError, match="nothing was asked"):
        session.retry()
    first = "".join(session.send("Hello?"))
    second = "".join(session.retry())
    assert second != first
    assert len(session.turns) == 2


def test_undoing_forgets_the_last_question_and_its_answer(tiny: LoadedModel) -> None:
    session = ChatSession(tiny, SHORT, system="Be kind.")
    for nothing in (session.undo, session.last_prompt):
        with pytest.raises(UsageError, match="nothing was asked"):
            nothing()
    list(session.send("Hello?"))
    before = list(session.turns)
    ident = session.transcript().ident
    list(session.send("And now?"))
    text, tokens = session.last_prompt()
    assert text == tiny.encoder.tokenizer.decode(tiny.prompt_ids(session.messages[:-1]))
    assert "And now?" in text
    assert tokens == len(tiny.prompt_ids(session.messages[:-1]))
    session.undo()
    assert session.turns == before
    said = session.transcript()
    assert (said.messages, said.ident) == (tuple(session.messages), ident)
    assert said.metadata["sampling"]["max_new_tokens"] == SHORT.max_new_tokens
    session.clear()
    assert session.transcript().ident != ident


def test_answers_begin_with_the_prefill(tiny: LoadedModel) -> None:
    session = ChatSession(tiny, SHORT, system="Be kind.", prefill="I think ")
    streamed = "".join(session.send("Hello?"))
    assert session.turns[-1].content == streamed
    assert streamed.startswith("I think")
    assert session.stats is not None
    assert session.stats.tokens == SHORT.max_new_tokens
    text, tokens = session.last_prompt()
    given = [*session.messages[:-1], Message("assistant", "I think")]
    assert (text, tokens) == (tiny.encoder.tokenizer.decode(ids := tiny.encoder.given_ids(given)), len(ids))
    session.prefill = ""
    asked = "".join(session.retry())
    assert session.last_prompt()[1] == len(tiny.prompt_ids(session.messages[:-1]))
    assert not asked.startswith("I think")


def test_stopping_keeps_what_came(talker: LoadedModel) -> None:
    session = ChatSession(talker, Sampling(max_new_tokens=60_000))
    answer = session.send("Hello?")
    begin = next(answer)
    answer.close()
    assert session.turns[1].content == begin
    assert session.stats is None

    for text in session.send("Go on"):
        begin = text
        session.stop()
    assert begin
    assert session.stats is not None
    assert session.stats.finish == "cancelled"


def test_too_long_a_conversation_is_refused_and_the_question_not_kept(tiny: LoadedModel) -> None:
    session = ChatSession(tiny, SHORT)
    with pytest.raises(ModelError, match="Shorten"):
        session.send("word " * 2000)
    assert session.turns == []
    session.clear()
    assert session.messages == []


def test_the_base_answers_without_the_adapter(tuned: LoadedModel) -> None:
    answers = ["".join(ChatSession(tuned, SHORT, tuned=side).send("Hello?")) for side in (True, False, True)]
    assert answers[0] == answers[2] != answers[1]


def test_stop_texts_of_a_person_end_an_answer(tiny: LoadedModel) -> None:
    ids = tiny.prompt_ids(ChatSession(tiny).messages or _question())
    whole = "".join(delta.text for delta in generate(tiny, [ids], Sampling(max_new_tokens=30)))
    stop = whole[5:8]
    deltas = list(generate(tiny, [ids], Sampling(max_new_tokens=30, stop=(stop,))))
    assert "".join(delta.text for delta in deltas) == deltas[-1].answer == whole.split(stop)[0].strip()
    assert deltas[-1].stats is not None
    assert deltas[-1].stats.finish == "stop"


def _question() -> list:  # type: ignore[type-arg]
    from camelid_core.records import Message

    return [Message("user", "Hello?")]
