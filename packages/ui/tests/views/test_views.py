"""HTML: nothing that came from outside is markup; numbers read well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from camelid_core.jobs import Job, JobState
from camelid_core.quality import DatasetStats, LintFinding
from camelid_core.readers import Faults
from camelid_core.records import Message, Record, text_record
from camelid_core.statistics import Difference, Estimate
from camelid_core.tokenization.encoder import TokenArrays
from camelid_ui import views
from camelid_ui.i18n import Translator
from camelid_ui.services.data.add import FilePreview
from camelid_ui.services.data.dataset_entries import DatasetEntry
from camelid_ui.services.data.lengths import CutoffEffect, TokenLengths
from camelid_ui.services.data.lints import LintReport
from camelid_ui.services.data.mix import MixturePart
from camelid_ui.services.job_groups import GroupStep, JobGroup
from camelid_ui.services.jobs import JobListing, JobView, ListingPart
from camelid_ui.services.machines import MachineView
from camelid_ui.services.models import TokenSpan, TokenView
from camelid_ui.services.prediction_table import PredictionPage
from camelid_ui.views import conversation, job, job_groups, job_queue, jobs, machines, numbers, predict
from camelid_ui.views.data import add, collection, lengths, lints, mix, selected_dataset
from camelid_ui.views.job import JobDetails

EVIL = '<img src=x onerror="alert(1)">'
SAY = Translator("en")
EVIL_JOB = Job(
    1, EVIL, {EVIL: EVIL}, name=EVIL, user=EVIL, owner=EVIL, error=EVIL, published=EVIL, process=EVIL,
    state=JobState.FAILED, ended=1.0,
)  # fmt: skip
EVIL_PART = ListingPart(
    (JobView(EVIL_JOB, 1, 2, EVIL, waits=EVIL), JobView(replace(EVIL_JOB, user="", published=""))), 2
)
EVIL_STEP = GroupStep(EVIL, JobView(replace(EVIL_JOB, state=JobState.RUNNING), 1, 2), settings={EVIL: EVIL})
RECORD = Record((Message("user", EVIL), Message("assistant", EVIL)))
ENTRY = DatasetEntry(
    EVIL, "s", EVIL, EVIL, (EVIL,), 1, tags=(EVIL,), origin=EVIL, availability="fetch", missing=f"{EVIL} `{EVIL}`",
    task=(EVIL,), generation=EVIL, kind=EVIL, made_by=EVIL, url=f"https://{EVIL}", citation=EVIL, parent=EVIL,
    step=EVIL,
)  # fmt: skip


@pytest.mark.parametrize(
    "html",
    [
        views.error(EVIL),
        views.code(EVIL, EVIL),
        views.empty(EVIL, EVIL),
        views.facts([(EVIL, EVIL)]),
        conversation.bubbles([Message("user", EVIL, EVIL)], SAY),
        conversation.tokens(TokenView((TokenSpan(EVIL, "trained"),), EVIL), SAY),
        collection.collection([ENTRY], EVIL, SAY),
        collection.chips({"language": {EVIL: 1, "b": 2}}, {}, SAY),
        selected_dataset.heading(ENTRY, SAY),
        selected_dataset.missing(ENTRY, SAY),
        selected_dataset.rows([RECORD], 0, 0, SAY),
        lints.findings(
            LintReport(DatasetStats(rows=1, findings={"refusal": LintFinding(1, [(1, EVIL)])}), True), {}, SAY
        ),
        add.preview(FilePreview((RECORD,), 1, Faults()), True, SAY),
        add.preview(FilePreview((), 0, Faults(), EVIL), True, SAY),
        mix.sources([(EVIL, 1.0, None, 3)], SAY),
        mix.shares([MixturePart(EVIL, 1.0, 3, 3, 1.0, EVIL)], False, SAY),
        jobs.table([JobView(Job(1, EVIL, {}, name="x", error=EVIL))], SAY),
        job_queue.queue(JobListing(EVIL_PART, EVIL_PART, EVIL_PART), SAY, EVIL, True, 0.0),
        job_queue.while_away(EVIL_PART.views, SAY, EVIL),
        job_groups.groups([JobGroup(EVIL, (EVIL_STEP,)), JobGroup(EVIL, (EVIL_STEP, EVIL_STEP))], SAY, EVIL),
        job_groups.groups([JobGroup(EVIL, (replace(EVIL_STEP, needs=(EVIL,)),) * 2)], SAY, EVIL),
        job.details(
            JobDetails(EVIL_PART.views[0], [EVIL_JOB], [EVIL_JOB], [EVIL_JOB], [{EVIL: EVIL}], [(EVIL, 1)]), SAY
        ),
        machines.machines([MachineView(EVIL, "online", EVIL, 1, jobs=(EVIL_JOB,))], SAY),
        predict.answers(
            PredictionPage(2, 1, [(1, {"instruction": EVIL, "generate": EVIL}), (2, {EVIL: EVIL, "error": EVIL})]), SAY
        ),
        predict.answers(
            PredictionPage(
                1,
                0,
                [(1, {"generate": {EVIL: EVIL}, "scores": {EVIL: {EVIL: 1.0}}})],
                means={EVIL: {EVIL: Estimate(1.0, 0.5, 1.0, 4)}},
            ),
            SAY,
        ),
        predict.summary(
            PredictionPage(
                1,
                0,
                [],
                means={EVIL: {EVIL: Estimate(1.0, 0.5, 1.0, 4)}},
                differences={EVIL: {EVIL: Difference(0, -1, 1, 4)}},
            ),
            1,
            SAY,
        ),
    ],
)
def test_nothing_from_outside_is_markup(html):
    assert "<img" not in html
    assert "&lt;img" in html


def test_every_state_has_words_in_both_languages():
    for state in JobState:
        view = JobView(Job(1, "train", {}, state=state))
        assert jobs.word(view, SAY)
        assert jobs.word(view, Translator("zh"))


def test_an_asked_for_end_is_said():
    running = Job(1, "train", {}, state=JobState.RUNNING, request="finish")
    assert jobs.word(JobView(running), SAY) == "Finishing early"
    assert jobs.word(JobView(Job(1, "train", {}, state=JobState.RUNNING, request="cancel")), SAY) == "Stopping"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (12_000, "3 h 20 min"), (400_000, "4 d")],
)
def test_durations(seconds, words):
    assert numbers.duration(seconds) == words


@pytest.mark.parametrize(("size", "words"), [(12, "12 B"), (1_400_000_000, "1.4 GB"), (270_000_000, "270 MB")])
def test_sizes(size, words):
    assert numbers.size(size) == words


def lengths_of(*counts: int) -> TokenLengths:
    offsets = np.cumsum([0, *counts])
    return TokenLengths.of_sample(TokenArrays(np.zeros(offsets[-1], np.int32), np.ones(offsets[-1], np.bool_), offsets))


def test_the_histogram_has_a_line_that_a_keyboard_reaches():
    html = lengths.histogram(lengths_of(5, 10, 30), 20, "field", SAY)
    assert 'role="slider" tabindex="0"' in html
    assert 'aria-valuenow="20"' in html
    assert 'data-field="field"' in html
    assert lengths.histogram(lengths_of(), 20, "field", SAY) == ""


def test_a_cut_that_takes_too_much_is_an_error():
    assert "refuses to start" in lengths.cut(CutoffEffect(10, 0, 4, 0, 5, 5, 9), 64, True, 10, SAY)
    sound = lengths.cut(CutoffEffect(10, 1, 2, 0, 5, 5, 9), 64, True, 10, SAY)
    assert "refuses" not in sound
    assert "2 (20.0 %)" in sound
    assert "about 200 (20.0 %)" in lengths.cut(CutoffEffect(10, 1, 2, 0, 5, 5, 9), 64, False, 1000, SAY)


def test_what_to_fetch_is_a_sentence_and_a_command_to_copy():
    html = selected_dataset.missing(
        replace(ENTRY, missing="x is not here. Type `camelid datasets fetch x`, or take it."), SAY
    )
    assert 'data-copy="camelid datasets fetch x"' in html
    assert "Type camelid datasets fetch x, or take it." in html


@pytest.mark.parametrize("rows", [0, 1, 100, 10**6, 10**9])
def test_sizes_are_drawn_within_their_bar(rows):
    assert 0 <= collection.scale(rows) <= 1


def test_a_text_stands_where_answers_do_and_a_book_is_shown_by_its_beginning():
    record = text_record(EVIL + "x" * 20_000)
    rows = selected_dataset.rows([record], 0, 0, SAY)
    assert "Text without turns" in rows
    assert views.esc(EVIL) in rows
    bubbles = conversation.bubbles(record.messages, SAY)
    assert len(bubbles) < 11_000
    assert "more characters" in bubbles
    assert "<img" not in rows + bubbles
    tokens = conversation.tokens(TokenView((TokenSpan("Llamas", "trained", 3),), "", beyond=9), SAY, cutoff=3)
    assert "12 tokens, all of them trained on; a text takes no prompt template." in tokens
    assert "the first 3" in tokens
