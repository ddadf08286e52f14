"""The three shapes of requests and answers: OpenAI's completions, llama.cpp's own, Ollama's own.

Knows JSON values. Knows no connections and no tokenizer: where a server gives no ids, a piece has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from camelid_serve.engine import GREEDY, Sampling, TokenLogprob

from .flavours import Flavour

TokenOf = Callable[[str], int | None]
"""The token that a text is, where it is one."""
_BY_ID = "token_id:"
_SEED = 0x7FFFFFFF
"""Seeds are positive everywhere: -1 asks some servers for chance."""


class Garbage(ValueError):
    """An answer that is not of the shape."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What came at once. `ids` is None where the server gives text alone; `scored` goes with `ids`, one each."""

    text: str = ""
    ids: tuple[int, ...] | None = None
    scored: tuple[TokenLogprob, ...] = ()
    finish: Literal["stop", "length"] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request in our words; `context` is how many tokens prompt and answer may have."""

    model: str
    prompt: Sequence[int] | str
    sampling: Sampling
    longest: int
    stops: frozenset[int]
    logprobs: int | None
    context: int


@dataclass(frozen=True, slots=True)
class Dialect:
    """`path` to post to; `ask` makes a request's body and `read` a piece of each JSON value that comes back."""

    path: str
    ask: Callable[[Flavour, Wanted], dict[str, Any]]
    read: Callable[[Any, TokenOf], Piece]


def settings(flavour: Flavour, wanted: Wanted) -> dict[str, Any]:
    """Sampling settings in the server's words.

    Raises:
        KeyError: one that is on and that it does not have; its name.
    """
    values = wanted.sampling.model_dump() | {
        "max_new_tokens": wanted.longest,
        "seed": wanted.sampling.seed & _SEED,
    }
    for name in Sampling.model_fields.keys() - flavour.fields.keys() - {"stop"}:
        if values[name] != getattr(GREEDY, name):
            raise KeyError(name)
    said = {theirs: values[ours] or flavour.off.get(ours, 0) for ours, theirs in flavour.fields.items()}
    return said | dict.fromkeys(flavour.context_fields, wanted.context) | dict(flavour.always)


def _ask_openai(flavour: Flavour, wanted: Wanted) -> dict[str, Any]:
    prompt = wanted.prompt if isinstance(wanted.prompt, str) else list(wanted.prompt)
    body = {"model": wanted.model, "prompt": prompt, "stream": True, **settings(flavour, wanted)}
    if wanted.logprobs is not None:
        body |= {"logprobs": wanted.logprobs, **(flavour.with_logprobs or {})}
    return body | ({flavour.stop_ids: sorted(wanted.stops)} if flavour.stop_ids else {})


def _read_openai(value: Any, token_of: TokenOf) -> Piece:
    choices = value["choices"]
    if not choices:
        return Piece()  # only counts tokens
    choice = choices[0]
    ids = choice.get("token_ids")
    scored = () if ids is None else _scored_openai(choice.get("logprobs"), ids, token_of)
    return Piece(
        str(choice["text"] or ""),
        None if ids is None else tuple(map(int, ids)),
        scored,
        _finish(choice.get("finish_reason"), {"stop": "stop", "length": "length"}),
    )


def _scored_openai(logprobs: Any, ids: Sequence[int], token_of: TokenOf) -> tuple[TokenLogprob, ...]:
    """Nothing where they do not go with the ids, one each."""
    worths = (logprobs or {}).get("token_logprobs") or ()
    likeliest = (logprobs or {}).get("top_logprobs") or [None] * len(worths)
    if len(worths) != len(ids) or len(likeliest) != len(ids):
        return ()
    return tuple(
        TokenLogprob(int(token), float(worth), _top(top or {}, token_of))
        for token, worth, top in zip(ids, worths, likeliest, strict=True)
    )


def _top(top: Mapping[str, float], token_of: TokenOf) -> tuple[tuple[int, float], ...]:
    found = [(_token(text, token_of), float(worth)) for text, worth in top.items()]
    known = [(token, worth) for token, worth in found if token is not None]
    return tuple(sorted(known, key=lambda each: -each[1]))


def _token(text: str, token_of: TokenOf) -> int | None:
    number = text.removeprefix(_BY_ID)
    return int(number) if number != text and number.isdecimal() else token_of(text)


def _ask_llama(flavour: Flavour, wanted: Wanted) -> dict[str, Any]:
    body = {"prompt": list(wanted.prompt), "stream": True, **settings(flavour, wanted)}
    # one at least, or the chosen token's own probability is left out
    return body | ({"n_probs": max(1, wanted.logprobs)} if wanted.logprobs is not None else {})


def _read_llama(value: Any, token_of: TokenOf) -> Piece:
    ended = value["stop"]
    ids = () if ended else tuple(map(int, value["tokens"]))  # the last one repeats what was said
    scored = tuple(
        TokenLogprob(
            int(each["id"]),
            float(each["logprob"]),
            tuple((int(other["id"]), float(other["logprob"])) for other in each["top_logprobs"]),
        )
        for each in ((value.get("completion_probabilities") or ()) if ids else ())
    )
    kinds = {"eos": "stop", "word": "stop", "limit": "length"}
    finish = _finish(value.get("stop_type"), kinds) if ended else None
    return Piece(str(value["content"]), ids, scored if len(scored) == len(ids) else (), finish)


def _ask_ollama(flavour: Flavour, wanted: Wanted) -> dict[str, Any]:
    options = settings(flavour, wanted)
    return {"model": wanted.model, "prompt": wanted.prompt, "raw": True, "stream": True, "options": options}


def _read_ollama(value: Any, token_of: TokenOf) -> Piece:
    finish = _finish(value.get("done_reason", "stop"), {"stop": "stop", "length": "length"}) if value["done"] else None
    return Piece(str(value["response"]), finish=finish)


def _finish(said: Any, kinds: Mapping[str, Any]) -> Any:
    if said is None:
        return None
    if said not in kinds:
        raise Garbage(f"it ended an answer with {said!r}")
    return kinds[said]


DIALECTS: Mapping[str, Dialect] = {
    "openai": Dialect("/v1/completions", _ask_openai, _read_openai),
    "llama": Dialect("/completion", _ask_llama, _read_llama),
    "ollama": Dialect("/api/generate", _ask_ollama, _read_ollama),
}
