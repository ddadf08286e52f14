"""What is typed into `camelid chat`: messages of one line and of several, with and without history."""

from __future__ import annotations

import pytest
from camelid_core.plugins import load_host
from camelid_serve.chat.session import ChatSession
from camelid_serve.commands.chat_input import ChatLoop, _messages
from camelid_serve.engine import Sampling
from camelid_serve.loaded_models import load_model


@pytest.mark.parametrize(
    ("typed", "messages"),
    [
        (["one", "", "  two  "], ["one", "two"]),
        (['"""', "def f():", "    return 1", "", "f()", '"""', "next"], ["def f():\n    return 1\n\nf()", "next"]),
        (['"""first', 'second"""'], ["first\nsecond"]),
        (['"""alone"""'], ["alone"]),
        (['"""', '"""', "next"], ["next"]),
        (['"""', "the input ends"], ["the input ends"]),
    ],
)
def test_lines_and_blocks_are_messages(typed, messages):
    assert list(_messages(iter(typed))) == messages


@pytest.mark.parametrize("history", [True, False])
def test_without_history_each_message_is_answered_alone(base, history):
    loaded = load_model(str(base), load_host())
    try:
        session = ChatSession(loaded, Sampling(max_new_tokens=1))
        loop = ChatLoop([session], history=history)
        loop.answer("First?")
        loop.answer("Second?")
        asked = [turn.content for turn in session.turns if turn.role == "user"]
        assert asked == (["First?", "Second?"] if history else ["Second?"])
    finally:
        loaded.close()


def test_prefill_begins_every_answer_until_it_is_taken_back(tiny, capsys):
    session = ChatSession(tiny, Sampling(max_new_tokens=1))
    loop = ChatLoop([session])
    loop._execute("/prefill", "Well,", "/prefill Well,")
    loop.answer("First?")
    loop._execute("/prefill", "", "/prefill")
    loop.answer("Second?")
    said = [turn.content.startswith("Well,") for turn in session.turns if turn.role == "assistant"]
    assert said == [True, False]
    printed = capsys.readouterr()
    assert printed.out.startswith("Well,")
    assert "Answers now begin with 'Well,'." in printed.err
