"""A model's chat template → a `RoleTemplate` with the same bytes and the right mask, or a refusal with its reason.

The template is rendered with contents that nobody writes by chance; around them stands the form. The form
is then tried on conversations that templates are known to treat differently. What is not the same byte for
byte is refused: a template that rewrites what it is given cannot say which tokens are the answer's. Once it
is imported, no Jinja runs any more.

What is trained is what `{% generation %}` marks; where nothing is marked, all that follows a prompt up to and
including the first control token behind the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, NoReturn

from camelid_core.errors import TemplateError

from .probes import (
    ROUNDS,
    SENTINEL_SYSTEM,
    Probe,
    edge_case_probes,
    padded_probe,
    sentinel_answer,
    sentinel_probe,
    sentinel_question,
)
from .role_template import RoleTemplate
from .sandbox import Rendered, RenderRequest, render_in_subprocess
from .segments import text_of, trained_spans

_LATER_DATE = "2031-11-23T22:21:20"


@lru_cache(maxsize=32)
def import_template(source: str, eos: str, bos: str, specials: tuple[str, ...], name: str = "own") -> RoleTemplate:
    """`source` as data; `specials` are the texts that the model's tokenizer reads as control tokens.

    Raises:
        TemplateError: what does not hold for this template.
    """
    seen = _ProbeResults(source, eos, bos, specials)
    form = _find_layout(seen)
    ends = _find_trained_ends(seen, form)
    refusals: list[TemplateError] = []
    for before in _possible_user_headers(seen, form, ends):
        try:
            return _verified(_build_template(seen, form, ends, before, name), seen)
        except TemplateError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(
        f"the model's own chat template cannot be used: {reason} "
        "Choose another one with --template (data.template); `camelid templates list` shows them."
    )


class _ProbeResults:
    """What the template writes for every probe."""

    def __init__(self, source: str, eos: str, bos: str, specials: tuple[str, ...]) -> None:
        self.eos, self.bos, self.specials = eos, bos, specials
        shapes = [(rounds, system, prompt) for rounds in range(1, ROUNDS + 1) for system in (0, 1) for prompt in (0, 1)]
        probes = [sentinel_probe(rounds, bool(system), bool(prompt)) for rounds, system, prompt in shapes]
        probes += [padded_probe(system=False), padded_probe(system=True), *edge_case_probes(specials, system=True)]
        requests = [RenderRequest(_chat_messages(probe), probe.prompt) for probe in probes]
        first = sentinel_probe(1, system=False, prompt=True)
        answers = render_in_subprocess(
            source, [*requests, RenderRequest(_chat_messages(first), True, _LATER_DATE)], eos, bos
        )
        self._answers = dict(zip(probes, answers, strict=False))
        if answers[-1] != self._answers[first]:
            _refuse("it writes today's date, so that a model trained today is asked otherwise tomorrow.")
        asked = self._answers[sentinel_probe(1, system=True, prompt=True)]
        self.has_system = isinstance(asked, Rendered) and SENTINEL_SYSTEM in asked.text

    def of(self, probe: Probe) -> Rendered:
        rendered = self._answers[probe]
        if isinstance(rendered, str):
            _refuse(f"it fails on {probe.what}: {rendered.rstrip('.')}.")
        return rendered

    def all(self) -> list[tuple[Probe, Rendered]]:
        """Without those with a system message where the template has no place for one."""
        return [
            (probe, self.of(probe)) for probe in self._answers if self.has_system or probe.messages[0].role != "system"
        ]


def _chat_messages(probe: Probe) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in probe.messages]


@dataclass(frozen=True)
class _Layout:
    """The text around the contents: `head question tail | start answer last`, and `between` up to the next question."""

    head: str
    tail: str
    start: str
    between: str
    last: str


def _verified(template: RoleTemplate, seen: _ProbeResults) -> RoleTemplate:
    for probe, rendered in seen.all():
        _check_probe(template, probe, rendered, seen)
    return template


def _possible_user_headers(seen: _ProbeResults, form: _Layout, ends: _TrainedEnds) -> list[str]:
    """What may be the header of a question: all that stands before the first one and before later ones;
    or of that what stands between a system message and the first one too."""
    header = _common_suffix(form.head, form.between[len(ends.turn) :])
    if not seen.has_system:
        return [header]
    return list(dict.fromkeys((header, _common_suffix(header, _around_system_message(seen)[1]))))


def _common_suffix(one: str, other: str) -> str:
    common = _common_prefix_length(one[::-1], other[::-1])
    return one[len(one) - common :]


def _common_prefix_length(one: str, other: str) -> int:
    """How many characters two texts have in common from their beginnings on."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _build_template(seen: _ProbeResults, form: _Layout, ends: _TrainedEnds, before: str, name: str) -> RoleTemplate:
    tail = form.tail.removesuffix(ends.lead)
    start, system, default, first = _find_system_formats(seen, form.head.removesuffix(before), before, tail)
    return RoleTemplate(
        name=name,
        help="The model's own chat template.",
        user=f"{before}{{content}}{tail}",
        assistant="",
        system=system,
        default_system=default,
        answer_start=form.start,
        answer_end=ends.answer,
        turn_end=None if ends.turn == ends.answer else ends.turn,
        between=form.between[len(ends.turn) :].removesuffix(before),
        closing=form.last[len(ends.answer) :],
        strip=_find_stripped_roles(seen),
        stops=tuple(token for token in seen.specials if token in ends.answer),
        start=start,
        first_user=first,
        lead=ends.lead,
    )


def _find_layout(seen: _ProbeResults) -> _Layout:
    prompts = [seen.of(sentinel_probe(rounds, system=False, prompt=True)).text for rounds in (1, 2)]
    wholes = [seen.of(sentinel_probe(rounds, system=False, prompt=False)).text for rounds in (1, 2)]
    for prompt, whole in zip(prompts, wholes, strict=True):
        if not whole.startswith(prompt):
            _refuse("what it gives a model to answer is not how the conversation with that answer begins.")
    head, tail = _split_at(prompts[0], sentinel_question(1))
    start, last = _split_at(wholes[0][len(prompts[0]) :], sentinel_answer(1))
    begun = prompts[0] + start + sentinel_answer(1)
    if not prompts[1].startswith(begun):
        _refuse("it writes an answer differently once another turn follows.")
    between, _ = _split_at(prompts[1][len(begun) :], sentinel_question(2))
    return _Layout(head, tail, start, between, last)


def _split_at(text: str, content: str) -> tuple[str, str]:
    if text.count(content) != 1:
        _refuse(f"it writes a message {text.count(content)} times, or changes its text.")
    before, _, after = text.partition(content)
    return before, after


class _TrainedEnds(NamedTuple):
    """What is trained of the prompt's end, and of what follows an answer: before another turn, and at the end."""

    lead: str
    turn: str
    answer: str


def _find_trained_ends(seen: _ProbeResults, form: _Layout) -> _TrainedEnds:
    text, spans = seen.of(sentinel_probe(2, system=False, prompt=False))
    if not spans:
        ends = [form.last.index(token) + len(token) for token in seen.specials if token in form.last]
        if not ends:
            _refuse("no control token ends an answer, so that a model trained with it would never stop.")
        end = form.last[: min(ends)]
        if not form.between.startswith(end):
            _refuse("an answer that another turn follows ends differently from the last one.")
        return _TrainedEnds("", end, end)
    prompt = len(seen.of(sentinel_probe(1, system=False, prompt=True)).text)
    places = [(text.index(sentinel_answer(number)), len(sentinel_answer(number))) for number in (1, 2)]
    if len(spans) != 2 or any(
        begin > place or end < place + length for (begin, end), (place, length) in zip(spans, places, strict=True)
    ):
        _refuse("its {% generation %} marks do not hold each answer once.")
    if spans[0][0] > prompt:
        _refuse("its {% generation %} marks begin behind the place where a model begins to write.")
    turn_end, answer_end = (spans[at][1] - sum(places[at]) for at in (0, 1))
    return _TrainedEnds(text[spans[0][0] : prompt], form.between[:turn_end], form.last[:answer_end])


def _find_system_formats(seen: _ProbeResults, head: str, before: str, tail: str) -> tuple[str, str, str, str]:
    """`start`, `system`, `default_system` and `first_user`, given what comes before a first question's own turn."""
    if not seen.has_system:
        return head, "", "", ""
    opening, gap = _around_system_message(seen)
    apart = gap.endswith(before)
    closing = gap.removesuffix(before)
    if opening.startswith(head):
        opening = opening.removeprefix(head)
        if apart:
            return head, f"{opening}{{content}}{closing}", "", ""
        return head, "", "", f"{opening}{{system}}{gap}{{content}}{tail}"
    if apart and head.startswith(opening) and head.endswith(closing) and len(head) > len(opening + closing):
        return "", f"{opening}{{content}}{closing}", head[len(opening) : len(head) - len(closing)], ""
    _refuse("what it writes without a system message does not fit what it writes with one.")


def _around_system_message(seen: _ProbeResults) -> tuple[str, str]:
    """What stands before a system message, and between it and the question."""
    opening, rest = _split_at(seen.of(sentinel_probe(1, system=True, prompt=True)).text, SENTINEL_SYSTEM)
    if sentinel_question(1) not in rest:
        _refuse("it writes the system message behind the question.")
    gap, _ = _split_at(rest, sentinel_question(1))
    return opening, gap


def _find_stripped_roles(seen: _ProbeResults) -> bool | tuple[str, ...]:
    probe = padded_probe(seen.has_system)
    text = seen.of(probe).text
    stripped = tuple(dict.fromkeys(each.role for each in probe.messages if each.content not in text))
    return True if len(stripped) == len({each.role for each in probe.messages}) else stripped or False


def _check_probe(template: RoleTemplate, probe: Probe, rendered: Rendered, seen: _ProbeResults) -> None:
    segments = template.prompt(probe.messages) if probe.prompt else template.render(probe.messages)
    ours = text_of(segments, seen.eos, seen.bos)
    if ours != rendered.text:
        at = _common_prefix_length(ours, rendered.text)
        _refuse(
            f"it does not treat {probe.what} as it treats others: it writes {_excerpt(rendered.text, at)} "
            f"where {_excerpt(ours, at)} was expected."
        )
    if rendered.spans and not probe.prompt and rendered.spans != trained_spans(segments, seen.eos, seen.bos):
        _refuse(f"its {{% generation %}} marks are placed otherwise for {probe.what}.")


def _excerpt(text: str, at: int) -> str:
    return repr(text[max(0, at - 10) : at + 30])


def longest_first(tokens: Sequence[str]) -> tuple[str, ...]:
    """Control tokens, longest first: none hides inside another."""
    return tuple(sorted({token for token in tokens if token}, key=lambda token: (-len(token), token)))
