"""Engine parity: greedy tokens of several engines for the same prompt ids, and where they diverge.

Knows engines, one after the other, and how to compare their tokens. Knows nothing of causes: a divergence where both
tokens are about as likely is rounding, which differs by kernel and dtype; one where an engine gives its token far more
probability than the other's is a difference of weights, positions or prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import exp
from typing import Any

from camelid_core.errors import DataError, ModelError, UsageError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import Host
from camelid_core.records import Message

from camelid_serve.config import Dtype, EngineConfig
from camelid_serve.engine_spec import format_engine_spec, parse_engine_spec
from camelid_serve.loaded_models import LoadedModel, load_model
from camelid_serve.predict.inputs import open_input

from .greedy_answers import GreedyAnswer, first_difference, greedy_answers

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
"""Prompts where no file is given: question, steps, code, Chinese, list, translation, story, numbers."""

_TOP_LOGPROBS = 8
"""Log-probabilities requested at each position, among which the other engine's token is looked up."""
_SLOTS = 4


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """One engine's token at a divergence (None is the end of the answer), its probability, and the probability that
    this engine gives the other's token; None where it is unknown."""

    token: int | None
    text: str
    probability: float | None = None
    of_other: float | None = None


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first position, from 0, where two answers to prompt number `prompt` differ."""

    prompt: int
    asked: str
    position: int
    first: TokenChoice
    other: TokenChoice


@dataclass(frozen=True, slots=True)
class EngineComparison:
    """One engine compared with the first: prompts with equal answers, tokens before answers diverge or end, and
    divergences (`partings`)."""

    engine: str
    equal: int
    prompts: int
    tokens: int
    partings: tuple[Divergence, ...]


@dataclass(frozen=True, slots=True)
class ComparedEngine:
    """An engine spec and the model that it loads."""

    label: str
    engine: str
    model: str


def parse_engines(model: str, engines: str, settings: Sequence[str], host: Host) -> list[ComparedEngine]:
    """`transformers,llamacpp=FILE`: engines, each with another file of the same model if it needs one. `settings` are
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
    for each in found:
        parse_engine_spec(host.registry("camelid_engines"), each.engine)
        resolve_model(each.model, host)
    return found


def conversations(source: str, limit: int) -> list[tuple[Message, ...]]:
    """The prompts: rows of a file or dataset, or built-in ones.

    Raises:
        DataError, UsageError: as `open_input` does, or no row can be answered.
    """
    if not source:
        return [(Message("user", text),) for text in PROMPTS[:limit]]
    found = [row.messages for row in open_input(source).rows(limit) if not row.error]
    if not found:
        raise DataError(f"{source!r} has no row that can be answered.")
    return found


def compare(
    engines: Sequence[ComparedEngine],
    prompts: Sequence[Sequence[Message]],
    tokens: int,
    host: Host,
    template: str = "",
    dtype: Dtype = "auto",
    report: Callable[[str], None] = lambda text: None,
) -> list[EngineComparison]:
    """Generate with each engine from the first one's token ids, and compare with the first.

    Raises:
        CamelidError: an engine or model that cannot be used.
    """
    answers: list[list[GreedyAnswer]] = []
    text_of: Callable[[int | None], str] = str
    ids: list[list[int]] = []
    for each in engines:
        report(f"{each.label}: {len(prompts)} prompts")
        engine_config = EngineConfig(template=template, dtype=dtype, engine=each.engine, slots=_SLOTS)
        loaded = load_model(each.model, host, engine_config, report)
        with closing(loaded):
            if not answers:
                ids = [loaded.prompt_ids(messages) for messages in prompts]
                stops, text_of = loaded.stops, _token_text(loaded)
            answers.append(_answers(loaded, ids, stops, tokens))
    return [
        _compare_answers(each.label, prompts, answers[0], given, text_of)
        for each, given in zip(engines[1:], answers[1:], strict=True)
    ]


def as_json(
    model: str, engines: Sequence[ComparedEngine], results: Sequence[EngineComparison], tokens: int
) -> dict[str, Any]:
    """The results as JSON values."""
    return {
        "model": model,
        "engines": [each.label for each in engines],
        "tokens": tokens,
        "equal": all(not result.partings for result in results),
        "compared": [asdict(result) for result in results],
    }


def _answers(
    loaded: LoadedModel, ids: Sequence[Sequence[int]], stops: frozenset[int], tokens: int
) -> list[GreedyAnswer]:
    """With log-probabilities where the engine supports them."""
    try:
        return greedy_answers(loaded, ids, stops, tokens, _TOP_LOGPROBS)
    except ModelError:
        return greedy_answers(loaded, ids, stops, tokens)


def _compare_answers(
    label: str,
    prompts: Sequence[Sequence[Message]],
    first: Sequence[GreedyAnswer],
    other: Sequence[GreedyAnswer],
    text_of: Callable[[int | None], str],
) -> EngineComparison:
    divergences = []
    tokens = 0
    for number, (messages, ours, theirs) in enumerate(zip(prompts, first, other, strict=True), 1):
        position = first_difference(ours.tokens, theirs.tokens)
        common = len(ours.tokens) if position is None else position
        tokens += sum(token is not None for token in ours.tokens[:common])
        if position is not None:
            choices = _choice(ours, theirs, position, text_of), _choice(theirs, ours, position, text_of)
            divergences.append(Divergence(number, messages[-1].content, position, *choices))
    return EngineComparison(label, len(prompts) - len(divergences), len(prompts), tokens, tuple(divergences))


def _choice(own: GreedyAnswer, other: GreedyAnswer, position: int, text_of: Callable[[int | None], str]) -> TokenChoice:
    token, theirs = (each.tokens[position] if position < len(each.tokens) else None for each in (own, other))
    logprob = own.logprobs[position] if position < len(own.logprobs) else None
    if logprob is None:
        return TokenChoice(token, text_of(token))
    logprobs = dict(logprob.top) | {logprob.token: logprob.logprob}
    of_other = logprobs.get(theirs) if theirs is not None else None
    return TokenChoice(token, text_of(token), exp(logprob.logprob), None if of_other is None else exp(of_other))


def _token_text(loaded: LoadedModel) -> Callable[[int | None], str]:
    encoder = loaded.encoder
    return lambda token: "end of the answer" if token is None else encoder.decode([token])
