"""The Train page's pieces as HTML: the estimate, and a run's heading. Knows estimates and runs."""

from __future__ import annotations

from camelid_ui.services.data.lengths import MOST_DROPPED
from camelid_ui.services.training import Estimate, Run
from camelid_ui.text import Voice

from . import error, esc, facts, note
from .jobs import badge, bar
from .numbers import count, duration, loss, size


def estimate(found: Estimate, say: Voice) -> str:
    pairs = [
        (say("train.rows"), count(found.rows)),
        (say("train.steps"), count(found.steps)),
        (say("train.tokens"), say("train.about", value=count(found.tokens))),
        (say("train.trained_tokens"), say("train.about", value=count(found.trained_tokens))),
        (say("train.memory"), say("train.of_free", value=size(found.memory), free=size(found.free))),
        (say("train.time"), duration(found.seconds) if found.seconds else say("train.time_unknown")),
    ]
    warnings = [] if found.fits else [error(say("train.too_big", value=size(found.memory), free=size(found.free)))]
    if found.dropped > MOST_DROPPED:
        warnings.append(error(say("train.refused", share=f"{found.dropped * 100:.0f}")))
    if found.truncated > 0:
        warnings.append(note(say("train.truncated", share=f"{found.truncated * 100:.0f}")))
    return facts(pairs, wide=True) + "".join(warnings)


def heading(run: Run, say: Voice) -> str:
    return (
        f'<div class="camelid-runhead"><h2>{esc(run.job.label)}</h2>{badge(run.view, say)}'
        f'<span class="camelid-note">{esc(run.model)} · {esc(run.data)}</span></div>'
    )


def progress(run: Run, say: Voice) -> str:
    job = run.job
    said = bar(run.view, say) if run.view.total else note(say(f"train.waiting.{job.state}") if run.view.running else "")
    if job.error:
        said += error(job.error) if not run.view.running else note(job.error)
    return said


def result(run: Run, say: Voice) -> str:
    summary = run.job.summary
    pairs = [
        (say("train.loss_before"), loss(summary.get("base_eval_loss"))),
        (say("train.loss_after"), loss(summary.get("eval_loss"))),
        (say("train.loss_train"), loss(summary.get("final_loss"))),
        (say("train.trained_tokens"), count(summary["trained_tokens"]) if summary.get("trained_tokens") else ""),
        (say("train.artefact"), run.artefact),
        (say("train.dropped"), _dropped(run, say)),
    ]
    return facts(pairs)


def legend(say: Voice) -> str:
    """Which line of the loss chart is which."""
    lines = (("raw", "train.loss_raw"), ("smooth", "train.loss_smooth"), ("held", "train.loss_held"))
    return (
        '<ul class="camelid-legend chart">'
        + "".join(f'<li class="{name}">{esc(say(key))}</li>' for name, key in lines)
        + "</ul>"
    )


def _dropped(run: Run, say: Voice) -> str:
    rows = run.rows
    if not rows.get("truncated") and not rows.get("dropped"):
        return ""
    return say(
        "train.dropped_rows",
        truncated=rows.get("truncated", 0),
        dropped=rows.get("dropped", 0),
        rows=rows.get("rows", 0),
    )
