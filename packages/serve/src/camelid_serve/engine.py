"""What an engine is: token ids in, a stream of token ids out.

Knows requests, sampling settings and finish reasons. Knows no text, no template and no torch.
Stop texts are in `Sampling` because people set them there; `text_stream` acts on them, engines do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, runtime_checkable

from camelid_core.config import Config
from camelid_core.errors import CamelidError, ModelError, UsageError
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.tasks import import_attribute
from pydantic import Field, field_validator

FinishReason = Literal["stop", "length", "cancelled", "failed"]
"""Finish reason: an end-of-sequence token or a stop text, the length limit, a cancellation, or an error."""


class Sampling(Config):
    """Sampling parameters: how the next token is picked from the logits, and when generation stops."""

    temperature: float = Field(0.0, ge=0, le=5)
    """Sampling temperature, by which logits are divided: below 1 sharpens their distribution, above 1 flattens it; 0 is
    greedy decoding, the default, as its answers can be repeated. Also: `do_sample=False` for 0."""
    top_p: float = Field(1.0, ge=0, le=1)
    """Nucleus sampling (top-p): sample among the likeliest tokens whose probabilities add up to this; 1 is off, and 0
    leaves the likeliest alone."""
    top_k: int = Field(0, ge=0)
    """Top-k sampling: sample among this many likeliest tokens; 0 is off. Also: -1 for off."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Min-p sampling: sample among tokens at least this share as likely as the likeliest one; 0 is off."""
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    """Repetition penalty: above 1 lowers the logits of tokens that occurred in the prompt or the answer; high values
    harm code; 1 is off. Also: `repeat_penalty`."""
    no_repeat_ngram_size: int = Field(0, ge=0, le=100)
    """N-gram blocking: no n-gram of this many tokens may occur twice, the prompt counted; small values break code and
    lists; 0 is off."""
    num_beams: int = Field(1, ge=1, le=16)
    """Beam search: this many beams, of which the best is the answer, all at once and only at the end; 1 is off. Engine
    transformers alone has it, for answers that do not stream."""
    max_new_tokens: int = Field(256, ge=1, le=131072)
    """Maximum length of the answer in tokens, without the prompt. Also: `max_tokens`, `n_predict`."""
    seed: int = 0
    """Random seed of the sampler: the same seed, prompt and settings give the same answer; unused at temperature 0."""
    stop: tuple[str, ...] = ()
    """Stop texts: the first of these that is generated ends the answer and is left out of it. Also: stop sequences,
    `stop_strings`."""

    @field_validator("top_k", mode="before")
    @classmethod
    def _off_is_zero(cls, value: Any) -> Any:
        """Other tools write -1 for off."""
        return 0 if value in (-1, "-1") else value


GREEDY = Sampling()

NO_STREAMED_BEAMS = "beam search has no answer before its end, so none that streams; leave num_beams at 1 here."


def check_streams(sampling: Sampling) -> None:
    """Refuse what cannot stream.

    Raises:
        UsageError: beam search.
    """
    if sampling.num_beams > 1:
        raise UsageError(NO_STREAMED_BEAMS)


Report = Callable[[str], None]

ENGINE_KEY = "CAMELID_ENGINE_KEY"
"""Environment variable with the key that an engine's own server asks for: the one credential that the process of a
model is given. Jobs are given none; an engine that needs one there reads it from a file."""


class PromptTooLong(ModelError):
    """A prompt that leaves no room for an answer."""

    def __init__(self, tokens: int, context_length: int, counted: bool = True) -> None:
        super().__init__(
            f"the prompt has {'' if counted else 'at least '}{tokens:,} tokens; "
            f"this model's maximum context length is {context_length:,} tokens, answer included. Shorten it."
        )


class NotFinite(ModelError):
    """Logits that are no numbers: nothing can be chosen by them."""

    def __init__(self) -> None:
        super().__init__(
            "the model computed no numbers here (NaN or infinite logits): its weights are damaged, or too large for "
            "its dtype. Load it with dtype float32, or fetch it again."
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt. `adapter` None is the base model alone; `stops` are the token ids that end the answer;
    `logprobs` asks for each token's log-probability and those of this many likeliest tokens."""

    ids: Sequence[int]
    sampling: Sampling = GREEDY
    adapter: str | None = None
    stops: frozenset[int] = frozenset()
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's log-probability (natural logarithm) under the model, before any sampling setting, and those of the
    likeliest tokens at its position, likeliest first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """An event of request `index`: a token, its end, or (at a length limit) both.

    A stop token ends an answer and is not given out, save in `token_logprob`, which comes if the request has
    `logprobs`. After `finish` nothing more comes for that request; `error` says why it failed. `at` is when it
    happened, by the monotonic clock: the reader may be late.
    """

    index: int
    token: int | None = None
    finish: FinishReason | None = None
    token_logprob: TokenLogprob | None = None
    error: CamelidError | None = None
    at: float = field(default_factory=time.monotonic, compare=False)


class Stream(Protocol):
    """Events of several requests as they happen. Ends when all have finished."""

    def __iter__(self) -> Iterator[TokenEvent]: ...

    def __next__(self) -> TokenEvent: ...

    def cancel(self, index: int) -> None:
        """Finish request `index` as cancelled, within one token. From any thread; repeating it is harmless."""

    def close(self) -> None:
        """Cancel what is left and give out nothing more. From any thread; repeating it is harmless."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class Engine(Protocol):
    """A resident base model, possibly with adapters. Streams opened from several threads share its batches."""

    @property
    def context_length(self) -> int:
        """Context length: most tokens that a prompt and its answer can have together."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that `Request.adapter` may have."""

    def stream(self, requests: Sequence[Request]) -> Stream:
        """Start to generate answers.

        Raises:
            ModelError: an unknown adapter, or an empty or too long prompt.
        """

    def close(self) -> None:
        """Cancel everything and free the model."""


@runtime_checkable
class ComputesPromptLogprobs(Protocol):
    """An engine that can tell the log-probabilities of a given prompt's tokens."""

    def prompt_logprobs(self, ids: Sequence[int], adapter: str | None, top: int) -> list[TokenLogprob]:
        """Of every token of `ids` after the first, and last of the token that the model would choose to come next.

        Raises:
            ModelError: as `stream` does.
        """


@dataclass(frozen=True, slots=True)
class Continuation:
    """Token ids that may follow a prompt's, such as a choice of a question. Neither is empty."""

    prompt: Sequence[int]
    ids: Sequence[int]


TakeLogprobs = Callable[[int, list[TokenLogprob]], None]
"""Takes the index of a continuation, and the log-probabilities of its tokens, each with the likeliest token there."""


@runtime_checkable
class ScoresContinuations(Protocol):
    """An engine that can tell how likely given tokens are after a prompt, many at once."""

    def score_continuations(
        self, continuations: Sequence[Continuation], adapter: str | None, take: TakeLogprobs
    ) -> None:
        """Give `take` each continuation's log-probabilities, in any order. What prompts share is computed once.

        Raises:
            ModelError: as `stream` does.
        """


TakeRows = Callable[[Any], None]
"""Takes the next rows of log-probabilities: a torch tensor [tokens, vocabulary] of float32 on the CPU."""


@runtime_checkable
class ComputesDistributions(Protocol):
    """An engine that can tell the whole distribution of the token that follows, at every place of a given prompt."""

    def next_token_logprobs(self, ids: Sequence[int], adapter: str | None, first: int, take: TakeRows) -> None:
        """Give `take` the log-probabilities of all tokens after each token of `ids`, from position `first` on.

        They come in order and in pieces of a few hundred rows: all rows of a long prompt would fill the memory. `take`
        runs on the engine's thread, and a piece is its own to keep.

        Raises:
            ModelError: as `stream` does.
        """


@runtime_checkable
class CanDie(Protocol):
    """An engine that may end by itself, such as one in another process."""

    @property
    def alive(self) -> bool:
        """Whether it can still answer; if not, it is opened anew when its model is loaded again."""


class CannotShare(ModelError):
    """An adapter that needs a base of its own."""


@runtime_checkable
class HotSwapsAdapters(Protocol):
    """An engine that loads and unloads adapters while it runs."""

    @property
    def serves_base(self) -> bool:
        """Whether the base model can be used without an adapter: no adapter has changed the base itself."""

    def add_adapter(self, resolved: ResolvedModel) -> str:
        """Make the adapter of `resolved` resident; returns the name that `Request.adapter` takes.

        Raises:
            CannotShare: of a kind that needs a base of its own.
            ModelError: it is no adapter of this base.
        """

    def remove_adapter(self, name: str) -> None:
        """Take no more requests under `name`; when the running ones have ended, its memory is free.

        Raises:
            UnknownName: there is no such adapter.
        """

    def why_not_batched(self, name: str) -> str:
        """Why requests under `name` cannot share a batch with others; empty if they can."""


@dataclass(frozen=True, slots=True)
class EngineKind:
    """An engine to choose. `load` is the `module:attribute` of `(resolved, dtype, slots) -> Engine`;
    `gguf` says that it runs GGUF files.

    An engine with options of its own names their class in `options`, the `module:attribute` of a `Config`. People
    write them behind its name (see `engine_spec`), and its `load` is
    `(resolved, dtype, slots, options, report) -> Engine`, where `report` takes lines of progress. Options are stored
    with results: none may be a secret.
    """

    name: str
    help: str
    load: str
    gguf: bool = False
    options: str = ""

    def open(
        self,
        resolved: object,
        dtype: str,
        slots: int,
        options: Config | None = None,
        report: Report = lambda text: None,
    ) -> Engine:
        """Load the model; `slots` is how many requests may run at once."""
        more = (options, report) if self.options else ()
        engine: Engine = import_attribute(self.load)(resolved, dtype, slots, *more)
        return engine
