"""HTML: nothing that came from outside is markup; numbers read well."""

from __future__ import annotations

import pytest
from camelid_core.jobs import Job, State
from camelid_core.records import Message, Record
from camelid_ui import views
from camelid_ui.services.data import Entry, Lengths
from camelid_ui.services.jobs import JobView
from camelid_ui.services.models import Piece, TokenView
from camelid_ui.services.predictions import Answers
from camelid_ui.text import Voice
from camelid_ui.views import conversation, data, jobs, numbers, predict

EVIL = '<img src=x onerror="alert(1)">'
SAY = Voice("en")


@pytest.mark.parametrize(
    "html",
    [
        views.error(EVIL),
        views.code(EVIL, EVIL),
        views.empty(EVIL, EVIL),
        views.facts([(EVIL, EVIL)]),
        conversation.bubbles([Message("user", EVIL, EVIL)], SAY),
        conversation.tokens(TokenView((Piece(EVIL, "trained"),), EVIL), SAY),
        data.collection([Entry(EVIL, "s", EVIL, EVIL, (EVIL,), 1, 0, (EVIL,), EVIL)], EVIL, SAY),
        data.rows([Record((Message("user", EVIL), Message("assistant", EVIL)))], 0, 0, SAY),
        jobs.table([JobView(Job(1, EVIL, {}, name="x", error=EVIL))], SAY),
        predict.answers(
            Answers([{"instruction": EVIL, "generate": EVIL}, {"line": EVIL, "error": EVIL}], True), 1, SAY
        ),
    ],
)
def test_nothing_from_outside_is_markup(html):
    assert "<img" not in html
    assert "&lt;img" in html


def test_every_state_has_words_in_both_languages():
    for state in State:
        view = JobView(Job(1, "train", {}, state=state))
        assert jobs.word(view, SAY)
        assert jobs.word(view, Voice("zh"))


def test_an_asked_for_end_is_said():
    running = Job(1, "train", {}, state=State.RUNNING, request="finish")
    assert jobs.word(JobView(running), SAY) == "Finishing early"
    assert jobs.word(JobView(Job(1, "train", {}, state=State.RUNNING, request="cancel")), SAY) == "Stopping"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (12_000, "3 h 20 min"), (400_000, "4 d")],
)
def test_durations(seconds, words):
    assert numbers.duration(seconds) == words


@pytest.mark.parametrize(("size", "words"), [(12, "12 B"), (1_400_000_000, "1.4 GB"), (270_000_000, "270 MB")])
def test_sizes(size, words):
    assert numbers.size(size) == words


def test_histogram_marks_what_is_cut():
    html = data.lengths(Lengths((5, 10, 30), (1, 1, 1)), 20, SAY)
    assert 'class="over"' in html
    assert "1 are longer than 20" in html
    assert data.lengths(Lengths((), ()), 20, SAY) == ""
