"""One run as HTML: heading, progress, result, events on the way, and its curves. Knows run details."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from camelid_core.statistics import number_text

from camelid_ui.i18n import Translator
from camelid_ui.services.training import RunDetails
from camelid_ui.views import error, esc, facts, note
from camelid_ui.views.jobs import badge, bar
from camelid_ui.views.numbers import count, duration, loss, size
from camelid_ui.views.plot import Curve, plot


def heading(run: RunDetails, say: Translator) -> str:
    about = " · ".join(part for part in (run.model, run.data, run.method) if part)
    return (
        f'<div class="camelid-runhead"><h2>{esc(run.job.label)}</h2>{badge(run.view, say)}'
        f'<span class="camelid-note">{esc(about)}</span></div>'
    )


def progress(run: RunDetails, say: Translator) -> str:
    job, report = run.job, run.report
    if run.view.total:
        shown = bar(run.view, say, _live_facts(run, say))
    else:
        shown = note((run.view.waits or say(f"train.waiting.{job.state}")) if run.view.running else "")
    if max(report.of("launch").get(name, 1) for name in ("processes", "nodes")) > 1:
        shown += note(say("story.launch", **_numbers(report.of("launch"), "processes", "nodes", "global_batch")))
    if job.error:
        shown += error(job.error) if not run.view.running else note(job.error)
    return shown + _event_list(run, say)


def result(run: RunDetails, say: Translator) -> str:
    summary, report = run.job.summary, run.report
    before = report.curves.heldout_loss[0].value if report.curves.heldout_loss else None
    best = report.best_heldout
    pairs = [
        (say("train.loss_before"), _measured(summary, "base_eval_loss", before)),
        (say("train.loss_after"), _measured(summary, "eval_loss")),
        (say("train.loss_change"), number_text(summary.get("eval_loss_difference")) or ""),
        (say("train.loss_best"), say("train.at_step", value=loss(best.value), step=count(best.step)) if best else ""),
        (say("train.loss_train"), loss(summary.get("final_loss"))),
        (say("train.trained_tokens"), count(summary["trained_tokens"]) if summary.get("trained_tokens") else ""),
        (say("train.trainable"), _trainable_parameters(report.of("model"), say)),
        (say("train.artefact"), run.artefact),
        (say("train.dropped"), _dropped(report.of("data"), say)),
    ]
    return facts(pairs)


def _measured(summary: Mapping[str, Any], name: str, otherwise: float | None = None) -> str:
    """A held-out loss with its interval, where the run knows one."""
    return number_text(summary.get(f"{name}_estimate")) or loss(summary.get(name, otherwise))


def measured(run: RunDetails, say: Translator) -> str:
    """The preflight: what was measured before the first step."""
    found = run.report.of("preflight")
    if not found:
        return ""
    memory = found.get("peak_memory"), found.get("free_memory")
    disk = found.get("checkpoint_bytes"), found.get("free_disk")
    pairs = [
        (say("train.memory"), _of_free(*memory, say)),
        (say("story.step"), f"{found['step_seconds']:.3g} s" if found.get("step_seconds") else ""),
        (say("train.time"), duration(found.get("eta"))),
        (say("train.tokens"), count(found["total_tokens"]) if found.get("total_tokens") else ""),
        (say("train.trained_tokens"), count(found["trained_tokens"]) if found.get("trained_tokens") else ""),
        (say("story.checkpoint"), _of_free(*disk, say)),
        (say("story.batch"), " × ".join(str(found[key]) for key in ("batch_size", "accumulation") if found.get(key))),
    ]
    proposed = found.get("proposed") or {}
    better = ", ".join(f"{key} {value}" for key, value in proposed.items()) if isinstance(proposed, Mapping) else ""
    notes = [*([say("story.proposed", settings=better)] if better else []), *map(str, found.get("notes") or [])]
    return (
        f'<details class="camelid-part"><summary>{esc(say("story.measured"))}</summary>{facts(pairs)}'
        f"{''.join(note(each) for each in notes)}</details>"
    )


def about(run: RunDetails, say: Translator) -> str:
    """The preflight, and a download with everything needed to reproduce the run."""
    link = (
        f'<p class="camelid-again"><a class="camelid-download" href="/download/runs/{run.job.id}" download>'
        f"{esc(say('run.bundle'))}</a> <small>{esc(say('run.bundle_help'))}</small></p>"
    )
    return measured(run, say) + (link if run.job.started else "")


def curves(run: RunDetails, say: Translator) -> str:
    found, step = run.report.curves, say("unit.step")
    raw = "raw" if len(found.loss) > 1 else "smooth"
    main = plot(
        say("train.loss"),
        [
            Curve(say("train.loss_raw"), found.loss, raw),
            Curve(say("train.loss_smooth"), found.smoothed if raw == "raw" else (), "smooth"),
            Curve(say("train.loss_held"), found.heldout_loss, "held"),
        ],
        step,
        kind="main",
    )
    rest = [
        plot(say("train.rate"), [Curve(say("train.rate"), found.learning_rate)], step, zero=True),
        plot(say("train.norm"), [Curve(say("train.norm"), found.gradient_norm)], step, zero=True),
        plot(say("train.speed"), [Curve(say("progress.tokens_per_second"), found.tokens_per_second)], step, zero=True),
    ]
    drawn = main + "".join(rest)
    return f'<div class="camelid-plots">{drawn}</div>' if drawn else ""


def _live_facts(run: RunDetails, say: Translator) -> list[tuple[str, object]]:
    """Memory, how much of the machine is used, and the last checkpoint."""
    now, saved = run.report.of("progress"), run.report.of("checkpoint")
    share = now.get("mfu")
    return [
        (say("train.memory"), size(run.report.peak_memory) if run.report.peak_memory else ""),
        (say("story.mfu"), f"{share * 100:.0f} %" if isinstance(share, int | float) else ""),
        (say("story.saved"), say("story.at_step", step=count(saved["step"])) if "step" in saved else ""),
    ]


def _event_list(run: RunDetails, say: Translator) -> str:
    lines = [f"<li>{esc(line)}</li>" for line in _sentences(run, say)]
    return f'<ul class="camelid-run-events">{"".join(lines)}</ul>' if lines else ""


def _sentences(run: RunDetails, say: Translator) -> Iterator[str]:
    halved = ""
    for event in run.report.messages:
        text = str(event.get("text") or "")
        if text and text in run.job.error:
            text = ""  # shown as the error
        if halved and halved in text:
            continue  # the log entry of the event shown just now
        halved = str(event.get("reason") or "") if event["kind"] == "micro_batch" else ""
        if event["kind"] == "micro_batch":
            size_now = _numbers(event, "batch_size", "accumulation")
            yield say("story.micro_batch", **size_now) + f" {event.get('reason', '')}".rstrip()
        elif event["kind"] == "stop":
            reason = say.optional(f"story.stop.{event.get('reason')}", str(event.get("reason", "")))
            yield f"{reason} {text}".strip()
        elif text:
            yield text


def _numbers(event: Mapping[str, Any], *names: str) -> dict[str, str]:
    return {name: str(event.get(name, "?")) for name in names}


def _of_free(value: Any, free: Any, say: Translator) -> str:
    if not value:
        return ""
    return say("story.of_free", value=size(value), free=size(free)) if free else size(value)


def _trainable_parameters(model: Mapping[str, Any], say: Translator) -> str:
    trainable, total = model.get("trainable_parameters"), model.get("all_parameters")
    if not trainable or not total:
        return ""
    return say("train.of_parameters", count=count(trainable), share=f"{100 * trainable / total:.3g}")


def _dropped(rows: Mapping[str, Any], say: Translator) -> str:
    if not rows.get("truncated") and not rows.get("dropped"):
        return ""
    return say(
        "train.dropped_rows",
        truncated=rows.get("truncated", 0),
        dropped=rows.get("dropped", 0),
        rows=rows.get("rows", 0),
    )
