"""Whether engines say the same: greedy tokens of each for the same token ids, and where they part.

Knows engines, one after the other, and how to compare what they gave. Knows nothing of why: a parting where both
tokens are about as likely is rounding, which other kernels and number formats do in other places; one where an engine
gives its token far more than the other's is a difference of weights, positions or prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import zip_longest
from math import exp
from typing import Any

from camelid_core.errors import DataError, ModelError, UsageError
from camelid_core.models.reference import resolve_model
from camelid_core.plugins import Host
from camelid_core.records import Message

from camelid_serve.config import Dtype, EngineConfig
from camelid_serve.engine import Request, Sampling, TokenLogprob
from camelid_serve.engine_spec import format_engine_spec, parse_engine_spec
from camelid_serve.loaded_models import LoadedModel, load_model
from camelid_serve.predict.inputs import open_input

PROMPTS = (
    "What is the capital of France?",
    "Tom has 3 boxes with 4 pens each and gives 5 pens away. How many pens are left? Reason step by step.",
    "Write a Python function that says whether a number is prime.",
    "用一句话解释什么是光合作用。",
    "List five colours, separated by commas.",
    "Translate into German: The weather is nice today, so we are going to the lake.",
    "Once upon a time, in a village by the sea,",
    "1, 1, 2, 3, 5, 8,",
)
"""Asked where no file is given: question, steps, code, Chinese, list, translation, story, numbers."""

_LIKELIEST = 8
"""Tokens whose probabilities are asked for at each place, among which the other engine's is looked for."""
_SLOTS = 4


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """What one engine chose: its token (None is the end of the answer), its probability, and what this engine gave
    the other's token; None where it does not say."""

    token: int | None
    text: str
    probability: float | None = None
    of_other: float | None = None


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place where two answers to prompt number `prompt` differ; positions count from 0."""

    prompt: int
    asked: str
    position: int
    first: TokenChoice
    other: TokenChoice


@dataclass(frozen=True, slots=True)
class EngineComparison:
    """One engine beside the first; `tokens` are equal before answers part or end."""

    engine: str
    equal: int
    prompts: int
    tokens: int
    partings: tuple[Divergence, ...]


@dataclass(frozen=True, slots=True)
class GreedyAnswer:
    """A greedy answer. The last of `tokens` is None where it ended by itself."""

    tokens: tuple[int | None, ...]
    scored: tuple[TokenLogprob | None, ...]


@dataclass(frozen=True, slots=True)
class ComparedEngine:
    """An engine, as typed with its settings, and the model it is given."""

    label: str
    engine: str
    model: str


def parse_engines(model: str, engines: str, settings: Sequence[str], host: Host) -> list[ComparedEngine]:
    """`transformers,llamacpp=FILE`: engines, each with another form of the same model if it needs one. `settings` are
    `engine.field=value`.

    Raises:
        UsageError: fewer than two, or settings for none of them.
        UnknownName: no such engine or model.
    """
    parts = [part.strip() for part in engines.split(",") if part.strip()]
    if len(parts) < 2:
        raise UsageError(f"--engines {engines!r} names {len(parts)}; give two or more: transformers,llamacpp.")
    named = [part.partition("=") for part in parts]
    given: dict[str, list[str]] = {name: [] for name, _, _ in named}
    for setting in settings:
        name, _, rest = setting.partition(".")
        if name not in given:
            known = " or ".join(f"{each}.{rest or setting}" for each in given)
            raise UsageError(f"--engine-option {setting!r} is for none of the engines; write {known}.")
        given[name].append(rest)
    found = [
        ComparedEngine(part, format_engine_spec(name, given[name]), own or model)
        for part, (name, _, own) in zip(parts, named, strict=True)
    ]
    for entrant in found:
        parse_engine_spec(host.registry("camelid_engines"), entrant.engine)
        resolve_model(entrant.model, host)
    return found


def conversations(source: str, limit: int) -> list[tuple[Message, ...]]:
    """What to ask: rows of a file or dataset, or what is built in.

    Raises:
        DataError, UsageError: as `open_input` does, or no row can be asked.
    """
    if not source:
        return [(Message("user", text),) for text in PROMPTS[:limit]]
    asked = [row.messages for row in open_input(source).rows(limit) if not row.error]
    if not asked:
        raise DataError(f"{source!r} has no row that can be asked.")
    return asked


def compare(
    competing: Sequence[ComparedEngine],
    asked: Sequence[Sequence[Message]],
    tokens: int,
    host: Host,
    template: str = "",
    dtype: Dtype = "auto",
    report: Callable[[str], None] = lambda text: None,
) -> list[EngineComparison]:
    """Ask each engine the ids that the first one's tokenizer makes, and compare with the first.

    Raises:
        CamelidError: an engine or model that cannot be used.
    """
    answers: list[list[GreedyAnswer]] = []
    texts: Callable[[int | None], str] = str
    ids: list[list[int]] = []
    for entrant in competing:
        report(f"{entrant.label}: {len(asked)} prompts")
        engine_config = EngineConfig(template=template, dtype=dtype, engine=entrant.engine, slots=_SLOTS)
        opened = load_model(entrant.model, host, engine_config, report)
        with closing(opened):
            if not answers:
                ids = [opened.prompt_ids(messages) for messages in asked]
                stops, texts = opened.stops, _texts(opened)
            answers.append(_answers(opened, ids, stops, tokens))
    return [
        _compared(entrant.label, asked, answers[0], given, texts)
        for entrant, given in zip(competing[1:], answers[1:], strict=True)
    ]


def as_json(
    model: str, competing: Sequence[ComparedEngine], results: Sequence[EngineComparison], tokens: int
) -> dict[str, Any]:
    """For programs."""
    return {
        "model": model,
        "engines": [entrant.label for entrant in competing],
        "tokens": tokens,
        "equal": all(not result.partings for result in results),
        "compared": [asdict(result) for result in results],
    }


def _answers(
    opened: LoadedModel, ids: Sequence[Sequence[int]], stops: frozenset[int], tokens: int
) -> list[GreedyAnswer]:
    """With probabilities where the engine tells them."""
    try:
        return list(_ask(opened, ids, stops, tokens, _LIKELIEST))
    except ModelError:
        return list(_ask(opened, ids, stops, tokens, None))


def _ask(
    opened: LoadedModel, ids: Sequence[Sequence[int]], stops: frozenset[int], tokens: int, likeliest: int | None
) -> Iterator[GreedyAnswer]:
    sampling = Sampling(max_new_tokens=tokens)
    requests = [Request(each, sampling, opened.adapter, stops, likeliest) for each in ids]
    said: list[list[tuple[int | None, TokenLogprob | None]]] = [[] for _ in requests]
    with opened.engine.stream(requests) as stream:
        for event in stream:
            if event.token is not None or event.finish == "stop":
                said[event.index].append((event.token, event.token_logprob))
    return (GreedyAnswer(tuple(token for token, _ in each), tuple(worth for _, worth in each)) for each in said)


def _compared(
    label: str,
    asked: Sequence[Sequence[Message]],
    first: Sequence[GreedyAnswer],
    other: Sequence[GreedyAnswer],
    texts: Callable[[int | None], str],
) -> EngineComparison:
    partings = []
    tokens = 0
    for number, (messages, ours, theirs) in enumerate(zip(asked, first, other, strict=True), 1):
        place = _first_difference(ours, theirs)
        common = len(ours.tokens) if place is None else place
        tokens += sum(token is not None for token in ours.tokens[:common])
        if place is not None:
            sides = _side(ours, theirs, place, texts), _side(theirs, ours, place, texts)
            partings.append(Divergence(number, messages[-1].content, place, *sides))
    return EngineComparison(label, len(asked) - len(partings), len(asked), tokens, tuple(partings))


def _first_difference(ours: GreedyAnswer, theirs: GreedyAnswer) -> int | None:
    """A shorter answer without an end of its own was cut: it differs where the other goes on."""
    missing = object()
    pairs = zip_longest(ours.tokens, theirs.tokens, fillvalue=missing)
    return next((place for place, (one, two) in enumerate(pairs) if one != two), None)


def _side(own: GreedyAnswer, other: GreedyAnswer, place: int, texts: Callable[[int | None], str]) -> TokenChoice:
    token, theirs = (each.tokens[place] if place < len(each.tokens) else None for each in (own, other))
    scored = own.scored[place] if place < len(own.scored) else None
    if scored is None:
        return TokenChoice(token, texts(token))
    worth = dict(scored.top) | {scored.token: scored.logprob}
    asked = worth.get(theirs) if theirs is not None else None
    return TokenChoice(token, texts(token), exp(scored.logprob), None if asked is None else exp(asked))


def _texts(opened: LoadedModel) -> Callable[[int | None], str]:
    encoder = opened.encoder
    return lambda token: "end of the answer" if token is None else encoder.decode([token])
