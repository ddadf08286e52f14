"""Request bodies of the routes that are like OpenAI's, field by field.

Knows types and bounds. Knows nothing of models. A field that clients send and that changes nothing here is
ignored; one that would change the answer is refused by name, unless its value is "off".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from camelid_core.errors import did_you_mean
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .errors import ApiError, printable

TokenId = Annotated[int, Field(ge=0, le=10_000_000)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True, min_length=1, max_length=131_072)]
Stop = Annotated[str, Field(max_length=256)]

_NO_TOOLS = "this server calls no tools"
_NO_PENALTY = "only repetition_penalty and no_repeat_ngram_size are known here"
_FREE_TEXT = "answers are free text here"

IGNORED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
    | {"parallel_tool_calls", "prediction", "cache_control"}
)
"""Fields that change no answer."""

OFF: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "tools": (([],), _NO_TOOLS),
    "tool_choice": (("none", "auto"), _NO_TOOLS),
    "functions": (([],), _NO_TOOLS),
    "function_call": (("none", "auto"), _NO_TOOLS),
    "response_format": (({"type": "text"},), _FREE_TEXT),
    "modalities": ((["text"],), "this server speaks text alone"),
    "audio": ((), "this server speaks text alone"),
    "presence_penalty": ((0,), _NO_PENALTY),
    "frequency_penalty": ((0,), _NO_PENALTY),
    "logit_bias": (({},), "tokens cannot be favoured here"),
    "reasoning_effort": (("none",), "these models have no such setting"),
    "verbosity": (("medium",), "these models have no such setting"),
    "web_search_options": ((), "this server searches nothing"),
    "best_of": ((1,), "every answer is given out; use n"),
    "suffix": (("",), "these models write on, not in between"),
}
"""Fields that would change the answer, the values that are allowed nevertheless (null always is), and why no others."""


class StrictModel(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True, frozen=True
    )


class Error(StrictModel):
    """What went wrong."""

    message: str
    """For people."""
    type: str
    """What kind of error."""
    param: str | None
    """The field it is about."""
    code: str
    """For programs."""


class ErrorBody(StrictModel):
    """Every error of this server."""

    error: Error
    """What went wrong."""


class StreamOptions(StrictModel):
    """What a stream contains besides text."""

    include_usage: bool | None = None
    """Send token counts (`usage`) in a last chunk."""
    include_obfuscation: bool | None = None
    """Accepted and without effect."""


class GenerationRequest(StrictModel):
    """Fields that chat and completion requests share."""

    model: Annotated[str, Field(max_length=1024)] | None = None
    """One of `/v1/models`; without it the first."""
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    """Sampling temperature: 0 is greedy decoding; without it, the model's recommended one."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Nucleus sampling (top-p): sample among the likeliest tokens that together reach this probability."""
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    """Top-k sampling: sample among this many likeliest tokens; 0 or -1 is off."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Min-p sampling: sample among tokens at least this share as likely as the likeliest one; 0 is off."""
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    """Repetition penalty: above 1, tokens that already occurred become less likely."""
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] | None = None
    """No n-gram of this many tokens may occur twice, the prompt counted; 0 is off."""
    num_beams: Annotated[int, Field(ge=1, le=16)] | None = None
    """Beam search with this many beams, for answers that do not stream; 1 is off."""
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    """Answers to each prompt, with seeds that count up."""
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    """Random seed of the sampler: the same seed, prompt and settings give the same answer."""
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    """Stop texts (stop sequences): each ends the answer; none of them is shown. Control tokens count as text here."""
    stop_token_ids: Annotated[list[TokenId], Field(fail_fast=True, max_length=1024)] | None = None
    """Stop token ids besides the model's own; none of them is returned."""
    stream: bool | None = None
    """Send text as it is generated, as server-sent events (SSE)."""
    stream_options: StreamOptions | None = None
    """What a stream contains besides text."""

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, values: Any) -> Any:
        return check_fields(cls, values, "") if isinstance(values, dict) else values

    @property
    def stops(self) -> tuple[str, ...]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class TextPart(StrictModel):
    """A part of a message."""

    type: Literal["text"]
    """Only text is supported."""
    text: str
    """The text."""

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, values: Any) -> Any:
        return check_fields(cls, values, "messages.content.") if isinstance(values, dict) else values


class ChatMessage(StrictModel):
    """One message of a conversation."""

    OFF: ClassVar[Mapping[str, tuple[tuple[Any, ...], str]]] = {
        "tool_calls": (([],), _NO_TOOLS),
        "function_call": ((), _NO_TOOLS),
        "refusal": (("",), "only what was said counts"),
        "annotations": (([],), "only what was said counts"),
        "audio": ((), "this server speaks text alone"),
    }
    role: Literal["system", "developer", "user", "assistant"]
    """Role of the author; developer means system."""
    content: str | Annotated[list[TextPart], Field(fail_fast=True, min_length=1, max_length=256)]
    """The message's text."""

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("role") in ("tool", "function"):
            raise ApiError(400, f"a message of role {values['role']!r}: {_NO_TOOLS}.", "unsupported_value", "messages")
        parts = values.get("content")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and isinstance(part.get("type"), str) and part["type"] != "text":
                raise ApiError(400, "only text can be sent in a message.", "unsupported_content", "messages")
        return check_fields(cls, {key: value for key, value in values.items() if key != "name"}, "messages.")

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def as_turn(self) -> dict[str, str]:
        return {"role": "system" if self.role == "developer" else self.role, "content": self.text}


class ChatRequest(GenerationRequest):
    """A conversation to answer. It ends with the user's message."""

    messages: Annotated[list[ChatMessage], Field(fail_fast=True, min_length=1, max_length=1024)]
    """Messages, oldest first."""
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    """Maximum new tokens of the answer."""
    max_completion_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    """Maximum new tokens of the answer; the newer name."""
    logprobs: bool | None = None
    """Return the log-probability of every token."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """And those of this many likeliest tokens at each position; needs logprobs."""

    @property
    def longest(self) -> int | None:
        older, newer = self.max_tokens, self.max_completion_tokens
        if older is not None and newer is not None and older != newer:
            raise ApiError(
                400, "'max_tokens' and 'max_completion_tokens' differ; send one.", "invalid_value", "max_tokens"
            )
        return newer if newer is not None else older


class CompletionRequest(GenerationRequest):
    """Texts or token ids to continue, without a prompt template around them."""

    prompt: (
        Annotated[str, Field(min_length=1)]
        | TokenIds
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(fail_fast=True, min_length=1, max_length=1024)]
        | Annotated[list[TokenIds], Field(fail_fast=True, min_length=1, max_length=1024)]
    )
    """A text, a list of token ids, or a list of either."""
    max_tokens: Annotated[int, Field(ge=0, le=131_072)] | None = None
    """Maximum new tokens of the answer; 16 if not given. 0, with echo, computes the prompt alone."""
    echo: bool | None = None
    """Return the prompt before the answer; with logprobs, with the log-probabilities of its tokens."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Return the log-probability of every token and those of this many likeliest ones."""
    return_token_ids: bool | None = None
    """Return the new `token_ids` of each choice, and its `prompt_token_ids` the first time, as vLLM does."""
    return_tokens_as_token_ids: bool | None = None
    """Name tokens in logprobs `token_id:NUMBER`, as vLLM does: not every token has a text of its own."""

    @model_validator(mode="before")
    @classmethod
    def _all_given_out(cls, values: Any) -> Any:
        """`best_of` equal to `n` changes nothing: all answers are returned."""
        if isinstance(values, dict) and _same(values.get("best_of"), values.get("n")):
            return {name: value for name, value in values.items() if name != "best_of"}
        return values

    @property
    def prompts(self) -> list[str | list[int]]:
        given: Any = self.prompt
        return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)


def check_fields(cls: type[BaseModel], values: dict[Any, Any], place: str) -> dict[Any, Any]:
    """The fields of `cls`, without ignored ones. Raises ApiError for fields that are not supported or unknown."""
    off = getattr(cls, "OFF", None) or OFF
    kept = {}
    for name, value in values.items():
        if name in cls.model_fields:
            kept[name] = value
        elif name in off:
            allowed, why = off[name]
            if value is not None and not any(_same(value, each) for each in allowed):
                raise ApiError(400, f"{place + name!r} is not supported: {why}.", "unsupported_parameter", place + name)
        elif name not in IGNORED:
            shown = printable(str(name))
            known = did_you_mean(shown, cls.model_fields)
            raise ApiError(
                400, f"{place + shown!r} is no field of this request.{known}", "unknown_field", place + shown
            )
    return kept


def _same(value: Any, allowed: Any) -> bool:
    return not isinstance(value, bool) and bool(value == allowed)
