"""The messages between `client` and `host`: one JSON object per line, each way.

    → {"id", "op": "load" | "add" | "remove" | "chat" | "complete", …}, see `LoadCommand`, `AddCommand` and so on
    → {"id", "op": "cancel"}
    ← {"id", "event": "progress" | "loaded" | "prefill" | "begun" | "alive" | "delta" | "done" | "error", …}

Knows the fields of these. Knows nothing of processes. An error is sent as its class's name and a sentence.
"""

from __future__ import annotations

from typing import Any

from camelid_core import errors
from camelid_core.config import Config
from camelid_core.errors import CamelidError, ModelError
from camelid_core.plugin_faults import plugin_fault
from pydantic import BaseModel, ConfigDict

from camelid_serve.config import DEFAULT_ENGINE, EngineConfig
from camelid_serve.engine import CannotShare, NotFinite, PromptTooLong, Sampling


class LoadCommand(Config):
    """Make these models resident and no others; those that are loaded already are not loaded again."""

    models: dict[str, str]
    """Names or directories, each under a label that `chat` and `complete` name it by."""
    how: EngineConfig = DEFAULT_ENGINE
    """Engine settings, the same for all."""


class AddCommand(Config):
    """Make one more model resident, in the dtype and with the engine of those that are."""

    label: str
    """What `chat` and `complete` name it by."""
    model: str
    """Name or directory."""
    template: str = ""
    """Overrides the model's own."""
    share: bool = False
    """Refuse it if no engine has its base."""


class RemoveCommand(Config):
    """Unload one model; under an adapter whose base stays, running requests end first."""

    label: str
    """What it was loaded under."""
    share: bool = False
    """Refuse it if its base would not stay."""


class ChatCommand(Config):
    """Answer a conversation; `messages` are `{"role", "content", "context"}`."""

    messages: list[dict[str, str]]
    """Ends with the user's message, or with an unfinished answer to continue."""
    begun: list[int] = []
    """The unfinished answer's token ids, where they are known: it is continued exactly as if it had not ended."""
    sampling: Sampling | None = None
    """Sampling settings; None takes those that the model's makers recommend."""
    tuned: bool = True
    """Use the adapter, not the base model alone."""
    template: str = ""
    """Overrides the loaded one."""
    model: str = ""
    """Label of a loaded model; empty is the first."""


class CompleteCommand(Config):
    """Answer a request of the HTTP API: a conversation in `messages`, or texts and token ids in `prompts`.

    Events: `prefill` with how many `tokens` are computed before the next event; `begun` with `prompts` ({tokens, text,
    scored, ids}) and `delta`s (index, text, scored, ids, finish) if `stream`, else `alive` once a second; and `done`
    with `prompts` and `rows` (answer, facts, scored, ids).
    Row `prompt * count + n` is the n-th answer to a prompt. Log-probabilities (`scored`) are {text, logprob, bytes,
    offset, top}, see `token_names`.
    """

    model: str
    """Label of a loaded model."""
    messages: list[dict[str, str]] | None = None
    """A conversation, put into the template's form."""
    prompts: list[str | list[int]] | None = None
    """Texts as they are, with the tokenizer's own control tokens read."""
    count: int = 1
    """Answers to each prompt, with seeds that count up."""
    sampling: Sampling
    """Sampling settings."""
    generate: bool = True
    """False computes the prompts' log-probabilities alone."""
    echo: bool = False
    """Return the prompts too, with their log-probabilities if `logprobs`."""
    logprobs: int | None = None
    """Log-probabilities of tokens, and of this many likeliest ones at each position."""
    stops: list[int] = []
    """Stop token ids besides the model's own."""
    ids: bool = False
    """Return the token ids of prompts and answers."""
    name_by_id: bool = False
    """Tokens with log-probabilities are named by their ids, not their texts."""
    stream: bool = False
    """Send `delta` events as text comes."""


class LoadProgress(BaseModel):
    """What loading is doing. While weights are read, `file` is the one they come from, and `done` of `total` bytes of
    all are in the model."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    file: str = ""
    done: int = 0
    total: int = 0


class LoadedModelInfo(BaseModel):
    """A resident model. `own_template` is the one it was trained with, `template` the one in use."""

    model_config = ConfigDict(frozen=True)

    model: str
    base: str
    has_adapter: bool
    template: str
    own_template: str
    context_length: int
    licence: str
    sampling: Sampling


def error_message(error: BaseException) -> dict[str, Any]:
    """Our own errors are sentences already; others are named, with the plugin that they are of."""
    known = error if isinstance(error, CamelidError) else plugin_fault(error)
    text = str(known) if known else f"the engine failed: {type(error).__name__}: {error}"
    return {"event": "error", "type": type(known or error).__name__, "message": text}


def to_error(message: dict[str, Any]) -> CamelidError:
    """The same kind of error on this side of the pipe, where it is one of ours."""
    name = str(message.get("type"))
    ours = {PromptTooLong.__name__, CannotShare.__name__, NotFinite.__name__}
    kind = ModelError if name in ours else getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, CamelidError) and not issubclass(kind, errors.UnknownName):
        return kind(message["message"])
    return CamelidError(message["message"])
