"""A conversation in one or two columns: turns, tries, what each column is asked."""

from __future__ import annotations

from camelid_core.records import Message
from camelid_serve.engine import Sampling
from camelid_ui.conversation import Talk, shown
from camelid_ui.services.chat import Answer, Facts
from camelid_ui.text import Voice

DONE = Facts(5, 20.0, 0.5, "stop")


def test_each_column_goes_on_with_its_own_answers():
    talk = Talk().asked("one").answered([Answer("base 1", DONE), Answer("tuned 1", DONE)], compare=True).asked("two")
    base, tuned = talk.columns("Be brief.", compare=True)
    assert [message.content for message in base.messages] == ["Be brief.", "one", "base 1", "two"]
    assert [message.content for message in tuned.messages] == ["Be brief.", "one", "tuned 1", "two"]
    assert (base.tuned, tuned.tuned) == (False, True)


def test_a_column_that_came_later_takes_the_others_answers():
    talk = Talk().asked("one").answered([Answer("tuned 1", DONE)], compare=False).asked("two")
    assert talk.columns("", compare=True)[0].messages[1] == Message("assistant", "tuned 1")


def test_asking_again_takes_another_seed():
    talk = Talk().asked("one").answered([Answer("a", DONE)], compare=False)
    assert talk.seeded(Sampling(seed=3)).seed == 3
    assert talk.again().again().seeded(Sampling(seed=3)).seed == 5


def test_editing_drops_what_came_after():
    talk = Talk().asked("one").asked("two").edited(0, "uno")
    assert [turn.question for turn in talk.turns] == ["uno"]


def test_footers_say_how_an_answer_came_about():
    talk = Talk().asked("one").answered([Answer("text", DONE)], compare=False)
    base, tuned = shown(talk, Voice("en"))
    assert len(base) == 1
    assert tuned[1]["content"] == "text\n\n<small>5 tokens · 20.0 tokens/s · first after 0.50 s · complete</small>"


def test_a_failed_answer_keeps_its_text_and_says_why():
    talk = Talk().asked("one").answered([Answer("half", Facts(0, 0, 0, "failed"), "<gone>")], compare=False)
    assert shown(talk, Voice("en"))[1][1]["content"] == "half\n\n<small>&lt;gone&gt;</small>"
