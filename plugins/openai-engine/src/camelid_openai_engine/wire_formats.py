"""The three wire formats of requests and streamed answers: OpenAI's completions, llama.cpp's own, Ollama's own.

Knows JSON values. Knows no connections and no tokenizer: where a server sends no token ids, a chunk has none.
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
"""Seeds are positive everywhere: -1 means a random seed to some servers."""


class MalformedAnswer(ValueError):
    """An answer that is not in the wire format."""


@dataclass(frozen=True, slots=True)
class CompletionChunk:
    """One chunk of a streamed answer. `ids` is None where the server sends text alone; `token_logprobs` has one for
    each of `ids`, or none."""

    text: str = ""
    ids: tuple[int, ...] | None = None
    token_logprobs: tuple[TokenLogprob, ...] = ()
    finish: Literal["stop", "length"] | None = None


@dataclass(frozen=True, slots=True)
class CompletionSpec:
    """One request, before it is put into a wire format; `context` is how many tokens prompt and answer may have."""

    model: str
    prompt: Sequence[int] | str
    sampling: Sampling
    max_tokens: int
    stops: frozenset[int]
    logprobs: int | None
    context: int


@dataclass(frozen=True, slots=True)
class WireFormat:
    """`path` to post to; `build_request` makes a request's body and `parse_chunk` a chunk of each JSON value that comes
    back."""

    path: str
    build_request: Callable[[Flavour, CompletionSpec], dict[str, Any]]
    parse_chunk: Callable[[Any, TokenOf], CompletionChunk]


def sampling_fields(flavour: Flavour, spec: CompletionSpec) -> dict[str, Any]:
    """Sampling settings under the server's names.

    Raises:
        KeyError: one that is on and that the server does not have; its name.
    """
    values = spec.sampling.model_dump() | {
        "max_new_tokens": spec.max_tokens,
        "seed": spec.sampling.seed & _SEED,
    }
    if spec.sampling.top_p == 0:  # the likeliest token alone; some servers refuse to hear it so
        values |= {"top_p": 1.0, "temperature": 0.0}
    for name in Sampling.model_fields.keys() - flavour.fields.keys() - {"stop"}:
        if values[name] != getattr(GREEDY, name):
            raise KeyError(name)
    fields = {theirs: values[ours] or flavour.off.get(ours, 0) for ours, theirs in flavour.fields.items()}
    return fields | dict.fromkeys(flavour.context_fields, spec.context) | dict(flavour.always)


def _build_openai(flavour: Flavour, spec: CompletionSpec) -> dict[str, Any]:
    prompt = spec.prompt if isinstance(spec.prompt, str) else list(spec.prompt)
    body = {"model": spec.model, "prompt": prompt, "stream": True, **sampling_fields(flavour, spec)}
    if spec.logprobs is not None:
        body |= {"logprobs": spec.logprobs, **(flavour.with_logprobs or {})}
    return body | ({flavour.stop_ids: sorted(spec.stops)} if flavour.stop_ids else {})


def _parse_openai(value: Any, token_of: TokenOf) -> CompletionChunk:
    choices = value["choices"]
    if not choices:
        return CompletionChunk()  # only counts tokens
    choice = choices[0]
    ids = choice.get("token_ids")
    token_logprobs = () if ids is None else _openai_logprobs(choice.get("logprobs"), ids, token_of)
    return CompletionChunk(
        str(choice["text"] or ""),
        None if ids is None else tuple(map(int, ids)),
        token_logprobs,
        _finish(choice.get("finish_reason"), {"stop": "stop", "length": "length"}),
    )


def _openai_logprobs(logprobs: Any, ids: Sequence[int], token_of: TokenOf) -> tuple[TokenLogprob, ...]:
    """Empty where there is not one for each of `ids`."""
    sampled = (logprobs or {}).get("token_logprobs") or ()
    likeliest = (logprobs or {}).get("top_logprobs") or [None] * len(sampled)
    if len(sampled) != len(ids) or len(likeliest) != len(ids):
        return ()
    return tuple(
        TokenLogprob(int(token), float(logprob), _top(top or {}, token_of))
        for token, logprob, top in zip(ids, sampled, likeliest, strict=True)
    )


def _top(top: Mapping[str, float], token_of: TokenOf) -> tuple[tuple[int, float], ...]:
    found = [(_token(text, token_of), float(logprob)) for text, logprob in top.items()]
    known = [(token, logprob) for token, logprob in found if token is not None]
    return tuple(sorted(known, key=lambda each: -each[1]))


def _token(text: str, token_of: TokenOf) -> int | None:
    number = text.removeprefix(_BY_ID)
    return int(number) if number != text and number.isdecimal() else token_of(text)


def _build_llama(flavour: Flavour, spec: CompletionSpec) -> dict[str, Any]:
    body = {"prompt": list(spec.prompt), "stream": True, **sampling_fields(flavour, spec)}
    # one at least, or the sampled token's own log-probability is left out
    return body | ({"n_probs": max(1, spec.logprobs)} if spec.logprobs is not None else {})


def _parse_llama(value: Any, token_of: TokenOf) -> CompletionChunk:
    ended = value["stop"]
    ids = () if ended else tuple(map(int, value["tokens"]))  # the last one repeats the tokens before
    token_logprobs = tuple(
        TokenLogprob(
            int(each["id"]),
            float(each["logprob"]),
            tuple((int(other["id"]), float(other["logprob"])) for other in each["top_logprobs"]),
        )
        for each in ((value.get("completion_probabilities") or ()) if ids else ())
    )
    kinds = {"eos": "stop", "word": "stop", "limit": "length"}
    finish = _finish(value.get("stop_type"), kinds) if ended else None
    return CompletionChunk(
        str(value["content"]), ids, token_logprobs if len(token_logprobs) == len(ids) else (), finish
    )


def _build_ollama(flavour: Flavour, spec: CompletionSpec) -> dict[str, Any]:
    options = sampling_fields(flavour, spec)
    return {"model": spec.model, "prompt": spec.prompt, "raw": True, "stream": True, "options": options}


def _parse_ollama(value: Any, token_of: TokenOf) -> CompletionChunk:
    finish = _finish(value.get("done_reason", "stop"), {"stop": "stop", "length": "length"}) if value["done"] else None
    return CompletionChunk(str(value["response"]), finish=finish)


def _finish(reason: Any, kinds: Mapping[str, Any]) -> Any:
    if reason is None:
        return None
    if reason not in kinds:
        raise MalformedAnswer(f"it ended an answer with {reason!r}")
    return kinds[reason]


WIRE_FORMATS: Mapping[str, WireFormat] = {
    "openai": WireFormat("/v1/completions", _build_openai, _parse_openai),
    "llama": WireFormat("/completion", _build_llama, _parse_llama),
    "ollama": WireFormat("/api/generate", _build_ollama, _parse_ollama),
}
