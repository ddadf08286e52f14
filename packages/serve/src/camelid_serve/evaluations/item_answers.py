"""Items of an evaluation → a model's answers, through its engine, many at once.

Knows engines and templates. Knows nothing of scores and files. An item that the model cannot take is an error of that
item alone.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import islice

from camelid_core.errors import CamelidError, ModelError

from camelid_serve.continuations import score_continuations
from camelid_serve.engine import Continuation, PromptTooLong, Sampling, TokenLogprob
from camelid_serve.generation import continuation_ids
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.predict.batch_answers import generate_all

from .evaluation import Answer, Conversation, Evaluation, Item, Outcome

NumberedItem = tuple[int, Item]
_ITEMS_AT_ONCE = 64
"""Items whose likelihoods are computed between two looks at whether the job is to stop."""


def item_answers(
    loaded: LoadedModel, evaluation: Evaluation, items: Sequence[NumberedItem], sampling: Sampling, slots: int
) -> Generator[tuple[int, Outcome, int], None, None]:
    """Number of each item, its answers or why there are none, and the tokens that were generated or read; in whatever
    order is quickest.

    Raises:
        ModelError: the engine tells no log-probabilities, and the evaluation needs them.
    """
    if evaluation.ask is not None:
        yield from evaluation.ask(loaded, items, sampling, slots)
    elif evaluation.kind == "likelihood":
        yield from _likelihoods(loaded, items)
    else:
        yield from _generated(loaded, items, sampling, slots)


def _generated(
    loaded: LoadedModel, items: Sequence[NumberedItem], sampling: Sampling, slots: int
) -> Generator[tuple[int, Outcome, int], None, None]:
    """Every conversation has a key and thus a seed of its own: the same whatever was answered before."""
    most = max((len(item.prompts) for _, item in items), default=1)
    known = dict(items)
    found: dict[int, dict[int, Answer]] = {number: {} for number in known}
    tokens = dict.fromkeys(known, 0)
    conversations = (
        (number * most + at, prompt) for number, item in items for at, prompt in enumerate(fitting(loaded, item))
    )
    answers = generate_all(loaded, conversations, sampling, slots)
    try:
        for key, outcome in answers:
            number, at = divmod(key, most)
            if number not in found:
                continue  # another conversation of it failed
            if isinstance(outcome, CamelidError):
                del found[number]
                yield number, outcome, 0
            elif outcome.stats is not None:
                text = _added(outcome.answer, known[number].prompts[at])
                found[number][at] = Answer(text, finish=outcome.stats.finish)
                tokens[number] += outcome.stats.tokens
                if len(found[number]) == len(known[number].prompts):
                    done = found.pop(number)
                    yield number, tuple(done[place] for place in sorted(done)), tokens[number]
    finally:
        answers.close()


def _added(answer: str, prompt: Conversation) -> str:
    """What the model added to the answer that the conversation ends with."""
    begun = prompt[-1].content.rstrip() if prompt[-1].role == "assistant" else ""
    return answer[len(begun) :] if begun and answer.startswith(begun) else answer


def _likelihoods(loaded: LoadedModel, items: Sequence[NumberedItem]) -> Generator[tuple[int, Outcome, int], None, None]:
    waiting = iter(sorted(items, key=lambda each: -sum(len(m.text) for m in each[1].prompts[0])))
    while window := list(islice(waiting, _ITEMS_AT_ONCE)):
        encoded: list[tuple[int, Item, list[Continuation]]] = []
        for number, item in window:
            try:
                encoded.append((number, item, _encoded(loaded, item)))
            except CamelidError as error:
                yield number, error, 0
        for (number, item, asked), logprobs in zip(
            encoded, _scored(loaded, [each for *_, each in encoded]), strict=True
        ):
            shared = _common_text(item)
            lengths = [len(prompt[-1].content) - shared for prompt in item.prompts]
            answers = tuple(
                Answer(logprob=logprob, characters=length) for logprob, length in zip(logprobs, lengths, strict=True)
            )
            yield number, answers, len(asked[0].prompt) + sum(len(option.ids) for option in asked)


def fitting(loaded: LoadedModel, item: Item) -> tuple[Conversation, ...]:
    """The conversations of an item, with as many examples as there is room for."""
    most = min(loaded.engine.context_length, item.most_tokens or loaded.engine.context_length)
    for prompts in (item.prompts, *item.shorter[:-1]) if item.shorter else ():
        try:
            if all(sum(map(len, continuation_ids(loaded, prompt, ()))) < most for prompt in prompts):
                return prompts
        except CamelidError:  # too long; any other error comes again where the item is asked
            continue
    return item.shorter[-1] if item.shorter else item.prompts


def _encoded(loaded: LoadedModel, item: Item) -> list[Continuation]:
    """Token ids of the conversations: what all begin with, and how each goes on. What is alike in all has no part in
    which is the likeliest; at least one token is left to each."""
    rows = []
    for prompt in fitting(loaded, item):
        if prompt[-1].role != "assistant":
            raise ModelError(f"item {item.id!r} has a conversation without an answer, whose likelihood is asked for.")
        ids, answer = continuation_ids(loaded, prompt, ())
        rows.append([*ids, *answer])
    shared = min(_common(rows), min(map(len, rows)) - 1)
    if shared < 1 or max(map(len, rows)) >= loaded.engine.context_length:
        raise PromptTooLong(max(map(len, rows)), loaded.engine.context_length)
    return [Continuation(rows[0][:shared], row[shared:]) for row in rows]


def _common(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with."""
    count = 0
    for tokens in zip(*rows, strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count


def _common_text(item: Item) -> int:
    """How many characters all answers begin with."""
    return _common([[ord(letter) for letter in prompt[-1].content] for prompt in item.prompts])


def _scored(loaded: LoadedModel, asked: Sequence[Sequence[Continuation]]) -> list[list[float]]:
    """Of each item the log-probability of every option."""
    options = [option for each in asked for option in each]
    logprobs = [0.0] * len(options)

    def take(index: int, tokens: list[TokenLogprob]) -> None:
        logprobs[index] = sum(token.logprob for token in tokens)

    score_continuations(loaded.engine, options, loaded.adapter, take)
    found = iter(logprobs)
    return [[next(found) for _ in each] for each in asked]
