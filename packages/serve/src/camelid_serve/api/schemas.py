"""What the OpenAI-shaped routes take, field by field.

Knows shapes and bounds. Knows nothing of models. A field that clients send and that changes nothing here is
left out in silence; one that would change the answer is refused by name, unless it says "off".
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
"""Fields that would change the answer, what they may say nevertheless (null is always fine), and why not more."""


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
    """What a stream tells besides text."""

    include_usage: bool | None = None
    """Counts tokens in a last chunk."""
    include_obfuscation: bool | None = None
    """Taken and without effect."""


class GenerationRequest(StrictModel):
    """What both kinds of request share."""

    model: Annotated[str, Field(max_length=1024)] | None = None
    """One of `/v1/models`; without it the first."""
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    """0 always takes the likeliest token; without it, what the model's makers recommend."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Choose among the likeliest tokens that together reach this probability."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Choose among this many likeliest tokens; 0 is off."""
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    """Above 1 makes tokens that already occurred less likely."""
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] | None = None
    """No run of this many tokens may occur twice, the question counted; 0 is off."""
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    """Answers to each prompt, with seeds that count up."""
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    """The same seed, prompt and settings give the same answer."""
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    """Texts that end the answer; none of them is shown."""
    stream: bool | None = None
    """Send text as it comes, as server-sent events."""
    stream_options: StreamOptions | None = None
    """What a stream tells besides text."""

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
    """A piece of a message."""

    type: Literal["text"]
    """Only text is taken."""
    text: str
    """What it says."""

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, values: Any) -> Any:
        return check_fields(cls, values, "messages.content.") if isinstance(values, dict) else values


class ChatMessage(StrictModel):
    """One turn."""

    OFF: ClassVar[Mapping[str, tuple[tuple[Any, ...], str]]] = {
        "tool_calls": (([],), _NO_TOOLS),
        "function_call": ((), _NO_TOOLS),
        "refusal": (("",), "only what was said counts"),
        "annotations": (([],), "only what was said counts"),
        "audio": ((), "this server speaks text alone"),
    }
    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks; developer means system."""
    content: str | Annotated[list[TextPart], Field(fail_fast=True, min_length=1, max_length=256)]
    """What they say."""

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
    """Turns, oldest first."""
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    """Longest answer, in tokens."""
    max_completion_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    """Longest answer, in tokens; the newer name."""
    logprobs: bool | None = None
    """With the probability of every token."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """And those of this many likeliest tokens at each place; needs logprobs."""

    @property
    def longest(self) -> int | None:
        older, newer = self.max_tokens, self.max_completion_tokens
        if older is not None and newer is not None and older != newer:
            raise ApiError(
                400, "'max_tokens' and 'max_completion_tokens' differ; send one.", "invalid_value", "max_tokens"
            )
        return newer if newer is not None else older


class CompletionRequest(GenerationRequest):
    """Texts to go on from, or token ids, as they are: no template is put around them."""

    prompt: (
        Annotated[str, Field(min_length=1)]
        | TokenIds
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(fail_fast=True, min_length=1, max_length=1024)]
        | Annotated[list[TokenIds], Field(fail_fast=True, min_length=1, max_length=1024)]
    )
    """A text, a list of token ids, or a list of either."""
    max_tokens: Annotated[int, Field(ge=0, le=131_072)] | None = None
    """Longest answer, in tokens; 16 if not given. 0, with echo, only looks at the prompt."""
    echo: bool | None = None
    """Give the prompt back before the answer; with logprobs, with the probabilities of its tokens."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """With the probability of every token and those of this many likeliest ones."""
    stop_token_ids: Annotated[list[TokenId], Field(fail_fast=True, max_length=1024)] | None = None
    """Tokens that end the answer besides the model's own; none of them is given out."""
    return_token_ids: bool | None = None
    """With `token_ids` of what is new in each choice, and its `prompt_token_ids` the first time, as vLLM has them."""
    return_tokens_as_token_ids: bool | None = None
    """Name tokens in logprobs `token_id:NUMBER`, as vLLM does: not every token is a text of its own."""

    @model_validator(mode="before")
    @classmethod
    def _all_given_out(cls, values: Any) -> Any:
        """The best of as many as are asked for are all of them."""
        if isinstance(values, dict) and _same(values.get("best_of"), values.get("n")):
            return {name: value for name, value in values.items() if name != "best_of"}
        return values

    @property
    def prompts(self) -> list[str | list[int]]:
        given: Any = self.prompt
        return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)


def check_fields(cls: type[BaseModel], values: dict[Any, Any], place: str) -> dict[Any, Any]:
    """The fields that count, once those that do not are out and those that may not be are refused."""
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
