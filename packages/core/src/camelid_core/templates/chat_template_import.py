"""A model's chat template → a `RoleTemplate` with the same bytes and the right loss mask, or a refusal with its reason.

The template is rendered with sentinel contents; the text around them is its layout. The imported template is
then verified on conversations that templates are known to treat specially. What is not the same byte for byte
is refused: a template that rewrites its messages cannot say which tokens are the answer's. Once it is imported,
no Jinja runs any more.

What is trained is what `{% generation %}` marks; where nothing is marked, all that follows a prompt up to and
including the first control token after the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple, NoReturn

from camelid_core.errors import TemplateError

from .probes import (
    ROUNDS,
    SENTINEL_SYSTEM,
    Probe,
    edge_case_probes,
    order_probes,
    padded_probe,
    sentinel_answer,
    sentinel_probe,
    sentinel_question,
)
from .role_fields import TurnOrder
from .role_template import RoleTemplate
from .sandbox import Rendered, RenderRequest, render_in_subprocess
from .segments import NO_REASONING, segments_text, trained_spans

_LATER_DATE = "2031-11-23T22:21:20"
_NO_CLOCK = ""
"""Templates that write today's date are rendered without a clock: many then write a fixed date of their own."""
_BUILT_IN = {
    "<|channel|>": "gpt-oss",
    "<|im_start|>": "chatml",
    "<|start_header_id|>": "llama-3",
    "<start_of_turn>": "gemma",
    "<｜User｜>": "deepseek",
    "[gMASK]": "glm-4",
    "<|end|>": "phi-3",
    "[INST]": "mistral",
}
"""The built-in template for families whose chat template holds a text; the first that does."""


@lru_cache(maxsize=32)
def import_template(source: str, eos: str, bos: str, specials: tuple[str, ...], name: str = "own") -> RoleTemplate:
    """Import the Jinja `source` as data; `specials` are the texts that the model's tokenizer reads as control tokens.

    Raises:
        TemplateError: why this template cannot be imported.
    """
    try:
        return _imported(_ProbeResults(source, eos, bos, specials), name)
    except TemplateError as refusal:
        raise TemplateError(f"{refusal}{_fitting_built_in(source)}") from None


def _imported(results: _ProbeResults, name: str) -> RoleTemplate:
    layout = _find_layout(results)
    ends = _find_trained_ends(results, layout)
    refusals: list[TemplateError] = []
    headers = _possible_user_headers(results, layout, ends)
    for before, reasoning in product(headers, (False, True)):
        try:
            template = replace(_build_template(results, layout, ends, before, name), drops_reasoning=reasoning)
            return _with_turn_order(_verified(template, results), results)
        except TemplateError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(
        f"the model's own chat template cannot be used: {reason} "
        "Choose another one with --template (data.template); `camelid templates list` shows them."
    )


def _fitting_built_in(source: str) -> str:
    """A sentence that names the built-in template which writes this family's turns; empty if none is known to."""
    name = next((name for mark, name in _BUILT_IN.items() if mark in source), "")
    return f" For this family there is --template {name}." if name else ""


class _ProbeResults:
    """What the template renders for every probe."""

    def __init__(self, source: str, eos: str, bos: str, specials: tuple[str, ...]) -> None:
        self.eos, self.bos, self.specials = eos, bos, specials
        shapes = [(rounds, system, prompt) for rounds in range(1, ROUNDS + 1) for system in (0, 1) for prompt in (0, 1)]
        probes = [sentinel_probe(rounds, bool(system), bool(prompt)) for rounds, system, prompt in shapes]
        probes += [padded_probe(system=False), padded_probe(system=True), *edge_case_probes(specials, system=True)]
        probes += order_probes()
        first = sentinel_probe(1, system=False, prompt=True)

        def render(*now: str) -> list[Rendered | str]:
            requests = [RenderRequest(_chat_messages(probe), probe.prompt, *now) for probe in probes]
            later = RenderRequest(_chat_messages(first), True, _LATER_DATE if not now else _NO_CLOCK)
            return render_in_subprocess(source, [*requests, later], eos, bos)

        answers = render()
        if answers[-1] != answers[probes.index(first)]:  # it writes the date
            answers = render(_NO_CLOCK)
            if isinstance(answers[-1], str):
                _refuse("it writes today's date, so that a model trained today is asked otherwise tomorrow.")
        self._answers = dict(zip(probes, answers, strict=False))
        self.orders = {probe: self._answers.pop(probe) for probe in order_probes()}
        with_system = self._answers[sentinel_probe(1, system=True, prompt=True)]
        self.has_system = isinstance(with_system, Rendered) and SENTINEL_SYSTEM in with_system.text

    def of(self, probe: Probe) -> Rendered:
        rendered = self._answers[probe]
        if isinstance(rendered, str):
            _refuse(f"it fails on {probe.what}: {rendered.rstrip('.')}.")
        return rendered

    def all(self) -> list[tuple[Probe, Rendered]]:
        """All probes and what they rendered to; without system messages where the template has no place for one."""
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
    turn_start: str
    """`start` of an answer that another turn follows."""


def _verified(template: RoleTemplate, results: _ProbeResults) -> RoleTemplate:
    for probe, rendered in results.all():
        _check_probe(template, probe, rendered, results)
    return template


def _with_turn_order(template: RoleTemplate, results: _ProbeResults) -> RoleTemplate:
    """The template with the most general order of turns that it renders as its Jinja does. To render two user turns in
    a row, what ends a user turn is told apart from what begins an answer."""
    both = next(iter(results.orders.values()))
    if isinstance(both, str) or template.first_user:
        return template
    gap = both.text.partition(sentinel_question(1))[2].partition(sentinel_question(2))[0]
    orders: tuple[TurnOrder, ...] = ("any", "repeated") if template.system else ("repeated",)
    for order, candidate in product(orders, _with_ends_apart(template, gap)):
        try:
            return _verified_in_order(replace(candidate, turn_order=order), results)
        except TemplateError:
            continue
    return template


def _with_ends_apart(template: RoleTemplate, gap: str) -> list[RoleTemplate]:
    """The template with what ends a user turn apart from what begins an answer, where `gap` lies between two user
    turns; a line end between turns is first taken as the end of the earlier turn."""
    whole, _, tail = template.user.partition("{content}")
    found = []
    for header in dict.fromkeys((whole.lstrip("\n"), whole)):
        line_end = whole.removesuffix(header)
        closing = gap.removesuffix(header)
        if gap.endswith(header) and tail.startswith(closing):
            apart = replace(template, user=f"{header}{{content}}{closing}", assistant=tail.removeprefix(closing))
            system = template.system and template.system + line_end
            found.append(replace(apart, system=system, between=template.between + line_end))
    return found


def _verified_in_order(template: RoleTemplate, results: _ProbeResults) -> RoleTemplate:
    for probe, rendered in results.orders.items():
        if template.turn_order == "any" or all(message.role != "system" for message in probe.messages):
            if isinstance(rendered, str):
                _refuse(rendered)
            _check_probe(template, probe, rendered, results)
    return _verified(template, results)


def _possible_user_headers(results: _ProbeResults, layout: _Layout, ends: _TrainedEnds) -> list[str]:
    """Candidates for the header of a user turn: the text common to all places before a question; or the part of it
    that also comes between a system message and the first question."""
    header = _common_suffix(layout.head, layout.between[len(ends.turn) :])
    if not results.has_system:
        return [header]
    return list(dict.fromkeys((header, _common_suffix(header, _around_system_message(results)[1]))))


def _common_suffix(one: str, other: str) -> str:
    common = _common_prefix_length(one[::-1], other[::-1])
    return one[len(one) - common :]


def _common_prefix_length(one: str, other: str) -> int:
    """Length of the common prefix of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _build_template(
    results: _ProbeResults, layout: _Layout, ends: _TrainedEnds, before: str, name: str
) -> RoleTemplate:
    tail = layout.tail.removesuffix(ends.lead)
    start, system, default, first, always = _find_system_formats(
        results, layout.head.removesuffix(before), before, tail
    )
    return RoleTemplate(
        name=name,
        help="The model's own chat template.",
        user=f"{before}{{content}}{tail}",
        assistant="",
        system=system,
        default_system=default,
        answer_start=layout.start,
        answer_end=ends.answer,
        turn_end=None if ends.turn == ends.answer else ends.turn,
        between=layout.between[len(ends.turn) :].removesuffix(before),
        closing=layout.last[len(ends.answer) :],
        strip=_find_stripped_roles(results),
        stops=tuple(token for token in results.specials if token in ends.answer),
        start=start,
        turn_start=None if layout.turn_start == layout.start else layout.turn_start,
        first_user=first,
        always_system=always,
        lead=ends.lead,
        complete=True,
    )


def _find_layout(results: _ProbeResults) -> _Layout:
    prompts = [results.of(sentinel_probe(rounds, system=False, prompt=True)).text for rounds in (1, 2)]
    wholes = [results.of(sentinel_probe(rounds, system=False, prompt=False)).text for rounds in (1, 2)]
    for prompt, whole in zip(prompts, wholes, strict=True):
        if not whole.startswith(prompt):
            _refuse("what it gives a model to answer is not how the conversation with that answer begins.")
    head, tail = _split_at(prompts[0], sentinel_question(1))
    start, last = _split_at(wholes[0][len(prompts[0]) :], sentinel_answer(1))
    if not prompts[1].startswith(prompts[0]):
        _refuse("it writes an answer differently once another turn follows.")
    turn_start, rest = _split_at(prompts[1][len(prompts[0]) :], sentinel_answer(1))
    if turn_start not in (start, start.replace(NO_REASONING, "")):
        _refuse("it writes an answer differently once another turn follows.")
    between, _ = _split_at(rest, sentinel_question(2))
    return _Layout(head, tail, start, between, last, turn_start)


def _split_at(text: str, content: str) -> tuple[str, str]:
    if text.count(content) != 1:
        _refuse(f"it writes a message {text.count(content)} times, or changes its text.")
    before, _, after = text.partition(content)
    return before, after


class _TrainedEnds(NamedTuple):
    """Trained text beside the answers: at the prompt's end (`lead`), and after an answer that another turn follows
    (`turn`) or that is the last (`answer`)."""

    lead: str
    turn: str
    answer: str


def _find_trained_ends(results: _ProbeResults, layout: _Layout) -> _TrainedEnds:
    text, spans = results.of(sentinel_probe(2, system=False, prompt=False))
    if not spans:
        ends = [layout.last.index(token) + len(token) for token in results.specials if token in layout.last]
        if not ends:
            _refuse("no control token ends an answer, so that a model trained with it would never stop.")
        end = layout.last[: min(ends)]
        if not layout.between.startswith(end):
            _refuse("an answer that another turn follows ends differently from the last one.")
        return _TrainedEnds("", end, end)
    prompt = len(results.of(sentinel_probe(1, system=False, prompt=True)).text)
    places = [(text.index(sentinel_answer(number)), len(sentinel_answer(number))) for number in (1, 2)]
    if len(spans) != 2 or any(
        begin > place or end < place + length for (begin, end), (place, length) in zip(spans, places, strict=True)
    ):
        _refuse("its {% generation %} marks do not hold each answer once.")
    if spans[0][0] > prompt:
        _refuse("its {% generation %} marks begin behind the place where a model begins to write.")
    turn_end, answer_end = (spans[at][1] - sum(places[at]) for at in (0, 1))
    return _TrainedEnds(text[spans[0][0] : prompt], layout.between[:turn_end], layout.last[:answer_end])


def _find_system_formats(results: _ProbeResults, head: str, before: str, tail: str) -> tuple[str, str, str, str, bool]:
    """`start`, `system`, `default_system`, `first_user` and `always_system` of the template; `head` comes before
    the first user turn."""
    if not results.has_system:
        return head, "", "", "", False
    opening, gap = _around_system_message(results)
    apart = gap.endswith(before)
    closing = gap.removesuffix(before)
    if opening.startswith(head):
        opening = opening.removeprefix(head)
        if apart:
            return head, f"{opening}{{content}}{closing}", "", "", False
        return head, "", "", f"{opening}{{system}}{gap}{{content}}{tail}", False
    if apart and head.startswith(opening) and head.endswith(closing) and len(head) >= len(opening + closing):
        default = head[len(opening) : len(head) - len(closing)]
        return "", f"{opening}{{content}}{closing}", default, "", not default
    _refuse("what it writes without a system message does not fit what it writes with one.")


def _around_system_message(results: _ProbeResults) -> tuple[str, str]:
    """The text before a system message, and between it and the first question."""
    opening, rest = _split_at(results.of(sentinel_probe(1, system=True, prompt=True)).text, SENTINEL_SYSTEM)
    if sentinel_question(1) not in rest:
        _refuse("it writes the system message behind the question.")
    gap, _ = _split_at(rest, sentinel_question(1))
    return opening, gap


def _find_stripped_roles(results: _ProbeResults) -> bool | tuple[str, ...]:
    probe = padded_probe(results.has_system)
    text = results.of(probe).text
    stripped = tuple(dict.fromkeys(each.role for each in probe.messages if each.content not in text))
    return True if len(stripped) == len({each.role for each in probe.messages}) else stripped or False


def _check_probe(template: RoleTemplate, probe: Probe, rendered: Rendered, results: _ProbeResults) -> None:
    segments = template.prompt(probe.messages) if probe.prompt else template.render(probe.messages)
    ours = segments_text(segments, results.eos, results.bos)
    if ours != rendered.text:
        at = _common_prefix_length(ours, rendered.text)
        _refuse(
            f"it does not treat {probe.what} as it treats others: it writes {_excerpt(rendered.text, at)} "
            f"where {_excerpt(ours, at)} was expected."
        )
    if rendered.spans and not probe.prompt and rendered.spans != trained_spans(segments, results.eos, results.bos):
        _refuse(f"its {{% generation %}} marks are placed otherwise for {probe.what}.")


def _excerpt(text: str, at: int) -> str:
    return repr(text[max(0, at - 10) : at + 30])


def longest_first(tokens: Sequence[str]) -> tuple[str, ...]:
    """Control tokens, longest first: none hides inside another."""
    return tuple(sorted({token for token in tokens if token}, key=lambda token: (-len(token), token)))
