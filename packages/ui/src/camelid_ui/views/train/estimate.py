"""The estimate, and the cards of the chosen model, datasets and method. Knows estimates and choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camelid_core.token_cache.encoded_dataset import drops_too_many

from camelid_ui.i18n import Translator
from camelid_ui.services.training import Estimate
from camelid_ui.services.training.selection import DataChoice, ModelChoice, SectionChoice
from camelid_ui.views import error, esc, facts, note
from camelid_ui.views.numbers import count, duration, short_count, size


def estimate(found: Estimate, running: int, say: Translator) -> str:
    """`running` jobs are under way."""
    pairs = [
        (say("train.memory"), say("train.of_free", value=size(found.memory), free=size(found.free))),
        (say("train.time"), duration(found.seconds) if found.seconds else say("train.time_unknown")),
        (say("train.steps"), count(found.steps)),
        (say("train.rows"), count(found.rows)),
        (say("train.tokens"), say("train.about", value=count(found.tokens))),
        (say("train.trained_tokens"), say("train.about", value=count(found.trained_tokens))),
        (say("train.rows_dropped"), f"{found.dropped * 100:.1f} %" if found.dropped else ""),
    ]
    share = 100 * min(1.0, found.memory / max(1, found.free))
    state = "failed" if not found.fits else ""
    meter = f'<div class="camelid-bar {state}" aria-hidden="true"><span style="width:{share:.1f}%"></span></div>'
    warnings = [] if found.fits else [error(say("train.too_big", value=size(found.memory), free=size(found.free)))]
    if drops_too_many(found.dropped, 1):
        warnings.append(error(say("train.refused", share=f"{found.dropped * 100:.0f}")))
    if found.truncated > 0:
        warnings.append(note(say("train.truncated", share=f"{found.truncated * 100:.0f}")))
    if running:
        warnings.append(note(say("train.waits", count=running)))
    return meter + facts(pairs, wide=True) + "".join(warnings)


def model_card(choice: ModelChoice, say: Translator) -> str:
    about = [
        say("train.parameters", value=short_count(choice.parameters)) if choice.parameters else "",
        size(choice.size) if choice.size else "",
        choice.family,
        say("train.context", value=count(choice.context)) if choice.context else "",
        choice.quantised,
    ]
    return _card(say("train.card.model"), choice.name, about)


def data_card(choices: Sequence[DataChoice], say: Translator) -> str:
    if not choices:
        return _card(say("train.card.data"), say("train.nothing"), [])
    if len(choices) == 1:
        return _card(say("train.card.data"), choices[0].source.name, _about_set(choices[0], say))
    rows = sum(choice.entry.rows for choice in choices if choice.entry is not None)
    names = ", ".join(
        choice.source.name + (f" × {choice.source.weight:g}" if choice.source.weight != 1 else "") for choice in choices
    )
    return _card(say("train.card.data"), names, [say("train.of_rows", rows=count(rows))])


def method_card(choices: Sequence[SectionChoice], say: Translator) -> str:
    title = " · ".join(choice.name for choice in choices)
    settings = _settings({key: value for choice in choices for key, value in choice.settings.items()})
    helps = " ".join(say.optional(f"help.{choice.section}.type={choice.name}", choice.help) for choice in choices)
    helps = helps.replace("。 ", "。")  # Chinese sentences need no space between them
    return _card(say("train.card.method"), title, [settings], helps)


def _about_set(choice: DataChoice, say: Translator) -> list[str]:
    entry = choice.entry
    if entry is None:
        return []
    languages = [say.optional(f"language.{code}", code) for code in entry.languages]
    return [say("train.of_rows", rows=count(entry.rows)) if entry.rows else "", ", ".join(languages), entry.licence]


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {' '.join(v) if isinstance(v, list) else v}" for name, v in settings.items())


def _card(label: str, name: str, about: Sequence[str], more: str = "") -> str:
    line = " · ".join(part for part in about if part)
    return (
        f'<div class="camelid-choice-card"><small>{esc(label)}</small><b>{esc(name)}</b>'
        + (f"<span>{esc(line)}</span>" if line else "")
        + (f"<span>{esc(more)}</span>" if more else "")
        + "</div>"
    )
