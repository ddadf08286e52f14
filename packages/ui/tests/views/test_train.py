"""The Train page's HTML: nothing from outside is markup, curves stay within their frame, numbers read well."""

from __future__ import annotations

import re

import pytest
from camelid_core.datasets.dataset import Source
from camelid_core.jobs import Job, JobState
from camelid_ui.i18n import Translator
from camelid_ui.services.jobs import JobView
from camelid_ui.services.training import Estimate, RunComparison, RunDetails, RunSummary
from camelid_ui.services.training.curves import CurvePoint
from camelid_ui.services.training.run_events import RunReportBuilder
from camelid_ui.services.training.runs import LossSummary
from camelid_ui.services.training.selection import DataChoice, ModelChoice, SectionChoice
from camelid_ui.views import plot
from camelid_ui.views.train import estimate, runs, samples
from camelid_ui.views.train import run as view
from hypothesis import given
from hypothesis import strategies as st

EVIL = '<img src=x onerror="alert(1)">'
SAY = Translator("en")
EVENTS = [
    {"kind": "preflight", "peak_memory": 5e8, "free_memory": 2e9, "step_seconds": 0.5, "eta": 60, "total_tokens": 100,
     "trained_tokens": 50, "checkpoint_bytes": 1000, "free_disk": 10**9, "batch_size": 4, "accumulation": 2,
     "proposed": {EVIL: EVIL}, "notes": [EVIL]},
    {"kind": "model", "trainable_parameters": 10, "all_parameters": 1000},
    {"kind": "launch", "processes": 2, "nodes": 1, "global_batch": 16},
    {"kind": "micro_batch", "batch_size": 2, "accumulation": 4, "reason": EVIL},
    {"kind": "train", "step": 5, "loss": 2.0, "learning_rate": 3e-4, "grad_norm": 1.0, "tokens_per_second": 70.0},
    {"kind": "eval", "step": 5, "loss": 2.5},
    {"kind": "progress", "done": 5, "total": 9, "unit": "steps", "mfu": 0.5, "memory": 5e8},
    {"kind": "checkpoint", "step": 5, "bytes": 10},
    {"kind": "sample", "step": 0, "index": 0, "prompt": EVIL, "answer": EVIL, "reference": EVIL},
    {"kind": "stop", "reason": "early", "text": EVIL},
    {"kind": "stop", "reason": EVIL, "text": ""},
    {"kind": "log", "text": EVIL},
]  # fmt: skip


def opened(number: int = 1, **config: object) -> RunDetails:
    story = RunReportBuilder()
    for event in EVENTS:
        story.add(event)
    job = Job(number, "train", {"model": {"name": EVIL}, "data": {"sources": [EVIL]}, **config}, name="x",
              state=JobState.RUNNING, error=EVIL, started=1.0)  # fmt: skip
    return RunDetails(JobView(job, 5, 9, "steps"), LossSummary(1.0, 0.5), story.report())


@pytest.mark.parametrize(
    "html",
    [
        view.heading(opened(), SAY),
        view.progress(opened(), SAY),
        view.about(opened(), SAY),
        samples.samples(opened().report.samples, "", SAY),
        runs.runs([RunSummary(opened().view)], SAY),
        runs.compared(RunComparison((opened(), opened(2)), {EVIL: (EVIL, None)}), SAY),
        estimate.model_card(ModelChoice(EVIL, EVIL, 1, 1, 1, EVIL), SAY),
        estimate.data_card([DataChoice(Source(EVIL), None)], SAY),
        estimate.method_card([SectionChoice("method", EVIL, EVIL, {EVIL: [EVIL]})], SAY),
        plot.plot(EVIL, [plot.Curve(EVIL, [CurvePoint(1, 1.0)], EVIL)], EVIL),
    ],
)
def test_nothing_from_outside_is_markup(html):
    assert "<img" not in html
    assert "&lt;img" in html


@pytest.mark.parametrize("say", [SAY, Translator("zh")])
def test_what_happened_is_said_in_sentences(say):
    html = view.progress(opened(), say) + view.about(opened(), say) + view.result(opened(), say)
    for words in ("500 MB", "50 %", "2.500", say("story.stop.early"), say("story.measured"), say("story.saved")):
        assert words in html
    assert "{" not in html


def test_a_run_has_four_charts_and_an_empty_one_none():
    assert view.curves(opened(), SAY).count("<figure") == 4
    assert view.curves(RunDetails(opened().view), SAY) == ""


def test_answers_stand_side_by_side_and_earlier_ones_are_chosen():
    story = RunReportBuilder()
    for step in (0, 10, 20):
        story.add({"kind": "sample", "index": 0, "step": step, "prompt": "p", "answer": f"at {step}", "reference": "r"})
    newest = samples.samples(story.report().samples, "", SAY)
    assert re.findall(r'<p tabindex="0">(.*?)</p>', newest) == ["at 0", "at 20", "r"]
    assert '<option value="20" selected>' in newest
    assert re.findall(r'<p tabindex="0">(.*?)</p>', samples.samples(story.report().samples, "10", SAY))[1] == "at 10"
    assert samples.samples((), "", SAY) == ""


def test_runs_are_ticked_and_one_alone_is_no_comparison():
    html = runs.runs([RunSummary(opened().view), RunSummary(opened(2).view)], SAY, "1", {"2"})
    assert re.findall(r'value="(\d)"[^>]* checked', html) == ["2"]
    assert "no run 7" in runs.compared(RunComparison((opened(),), {}, (7,)), SAY)
    assert "the same" in runs.compared(RunComparison((opened(), opened(2)), {}), SAY)


def test_an_estimate_warns_of_what_does_not_fit_and_of_a_queue():
    html = estimate.estimate(Estimate(10, 5, 100, 50, 0.1, 0.9, 9 * 10**9, 10**9, 60.0), 2, SAY)
    for words in ("9.0 GB", "refuse", "Jobs running: 2", "1 min 00 s"):
        assert words in html


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e12, 1e12)), min_size=1, max_size=30), st.booleans())
def test_every_curve_stays_within_its_frame(pairs, zero):
    html = plot.plot("t", [plot.Curve("l", [CurvePoint(*pair) for pair in pairs])], "step", zero)
    places = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]*)"', html)[1].split()]
    assert len(places) == len(pairs)
    assert all(0 <= left <= 1000 and 0 <= top <= 1000 for left, top in places)


@pytest.mark.parametrize(
    ("value", "step", "words"),
    [
        (0, 1, "0"),
        (6.0142, 0.02, "6.01"),
        (0.0003, 1e-4, "3e-4"),
        (42_120, 0, "42.1k"),
        (2e6, 0, "2M"),
        (1.5, 0, "1.5"),
    ],
)
def test_numbers_on_an_axis_are_short(value, step, words):
    assert plot.number(value, step) == words


def test_ticks_are_round_and_within():
    assert plot.ticks(6.003, 6.075) == pytest.approx([6.02, 6.04, 6.06])
    assert plot.ticks(0, 60, 5) == pytest.approx([0, 20, 40, 60])
