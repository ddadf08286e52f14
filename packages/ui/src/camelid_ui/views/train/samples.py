"""Sample answers during training: before training, at the newest step, and the reference answer side by side."""

from __future__ import annotations

from collections.abc import Sequence

from camelid_ui.i18n import Translator
from camelid_ui.services.training.run_events import AnswersByStep
from camelid_ui.views import esc
from camelid_ui.views.numbers import count

MOST_CHOICES = 60


def samples(found: Sequence[AnswersByStep], chosen: str, say: Translator) -> str:
    """`chosen` is the step whose answers are compared with the first ones; the newest if there is none of that step."""
    steps = sorted({step for sample in found for step in sample.answers})
    if not steps:
        return ""
    step = int(chosen) if chosen.isdecimal() and int(chosen) in steps else steps[-1]
    shown = "".join(_sample(sample, steps[0], step, say) for sample in found)
    return (
        f'<section class="camelid-answers" aria-label="{esc(say("samples.title"))}"><div class="head">'
        f"<h3>{esc(say('samples.title'))}</h3>{_chooser(steps, step, say)}</div>{shown}</section>"
    )


def _chooser(steps: Sequence[int], chosen: int, say: Translator) -> str:
    """Earlier evaluations; of very many, some of them."""
    later = steps[1:]
    if len(later) < 2:
        return ""
    some = sorted({*later[:: max(1, len(later) // MOST_CHOICES)], later[-1], chosen}, reverse=True)
    options = "".join(
        f'<option value="{step}"{" selected" if step == chosen else ""}>{esc(say("samples.step", step=count(step)))}'
        "</option>"
        for step in some
    )
    return f'<label>{esc(say("samples.choose"))} <select data-set="sample">{options}</select></label>'


def _sample(sample: AnswersByStep, first: int, step: int, say: Translator) -> str:
    columns = [
        (say("samples.before") if first == 0 else say("samples.step", step=count(first)), sample.answers.get(first))
    ]
    if step != first:
        columns.append((say("samples.step", step=count(step)), sample.answers.get(step)))
    columns.append((say("samples.reference"), sample.reference))
    cells = "".join(_answer(head, text, say) for head, text in columns if text is not None)
    return f'<article><p class="question">{esc(sample.prompt)}</p><div class="columns">{cells}</div></article>'


def _answer(head: str, text: str, say: Translator) -> str:
    shown = esc(text) if text.strip() else f'<i class="nothing">{esc(say("role.nothing"))}</i>'
    return f'<div><small>{esc(head)}</small><p tabindex="0">{shown}</p></div>'
