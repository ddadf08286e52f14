"""A request's fields → a request for the engine, within the server's limits.

Knows sampling settings and limits. Knows nothing of connections.
"""

from __future__ import annotations

import secrets
from typing import Any

from camelid_serve.engine import NO_STREAMED_BEAMS

from .engine_response import EngineRequest
from .errors import ApiError
from .response_formats import ChatFormat, CompletionFormat
from .schemas import ChatRequest, CompletionRequest, GenerationRequest
from .state import ServerState

_COMPLETION_TOKENS = 16


def chat(state: ServerState, wanted: ChatRequest) -> EngineRequest:
    """Raises ApiError for values beyond the limits and for models that are not served."""
    label = state.model(wanted.model)
    count = _count(state, wanted)
    if wanted.top_logprobs and not wanted.logprobs:
        raise ApiError(400, "'top_logprobs' needs 'logprobs': true.", "invalid_value", "top_logprobs")
    longest = wanted.longest or min(state.limits.default_tokens, state.limits.max_tokens)
    turns = [turn.as_turn() for turn in wanted.messages]
    request = {
        "model": label,
        "messages": turns,
        "count": count,
        "sampling": _sampling(state, label, wanted, longest),
        "logprobs": (wanted.top_logprobs or 0) if wanted.logprobs else None,
        "stops": wanted.stop_token_ids or [],
        "stream": bool(wanted.stream),
    }
    response_format = ChatFormat(label, count, bool(wanted.logprobs), wanted.wants_usage)
    characters = sum(len(turn["content"]) for turn in turns)
    return EngineRequest(request, count, characters, "messages", response_format, bool(wanted.stream))


def completion(state: ServerState, wanted: CompletionRequest) -> EngineRequest:
    """Raises ApiError for values beyond the limits and for models that are not served."""
    label = state.model(wanted.model)
    count, prompts = _count(state, wanted), wanted.prompts
    if len(prompts) > state.limits.prompts:
        raise ApiError(400, f"{len(prompts)} prompts; this server takes {state.limits.prompts}.", "too_many", "prompt")
    longest = _COMPLETION_TOKENS if wanted.max_tokens is None else wanted.max_tokens
    if longest == 0 and not wanted.echo:
        raise ApiError(
            400, "'max_tokens' 0 needs 'echo': true, or nothing is left to say.", "invalid_value", "max_tokens"
        )
    request = {
        "model": label,
        "prompts": prompts,
        "count": count,
        "sampling": _sampling(state, label, wanted, max(1, longest)),
        "generate": longest > 0,
        "echo": bool(wanted.echo),
        "logprobs": wanted.logprobs,
        "stops": wanted.stop_token_ids or [],
        "ids": bool(wanted.return_token_ids),
        "name_by_id": bool(wanted.return_tokens_as_token_ids),
        "stream": bool(wanted.stream),
    }
    response_format = CompletionFormat(label, count, wanted.logprobs is not None, wanted.wants_usage, bool(wanted.echo))
    characters = sum(map(len, prompts))
    return EngineRequest(request, count * len(prompts), characters, "prompt", response_format, bool(wanted.stream))


def _count(state: ServerState, wanted: GenerationRequest) -> int:
    count = wanted.n or 1
    if count > state.limits.choices:
        raise ApiError(400, f"'n' is {count}; this server gives at most {state.limits.choices}.", "too_many", "n")
    return count


def _sampling(state: ServerState, label: str, wanted: GenerationRequest, longest: int) -> dict[str, Any]:
    if longest > state.limits.max_tokens:
        limit = state.limits.max_tokens
        raise ApiError(400, f"'max_tokens' is {longest}; this server gives at most {limit}.", "too_many", "max_tokens")
    if wanted.stream and (wanted.num_beams or 1) > 1:
        raise ApiError(400, NO_STREAMED_BEAMS, "unsupported_value", "num_beams")
    settings = state.supervisor.models[label].sampling.model_dump(mode="json")
    for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "no_repeat_ngram_size", "num_beams"):
        if getattr(wanted, name) is not None:
            settings[name] = getattr(wanted, name)
    seed = secrets.randbits(31) if wanted.seed is None else wanted.seed
    return settings | {"max_new_tokens": longest, "seed": seed, "stop": list(wanted.stops)}
