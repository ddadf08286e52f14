"""Models and artefacts on this machine, and tokenization with each.

Knows directories and manifests. Loads tokenizers, never weights.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from camelid_core.artefacts import is_artefact, read_artefact
from camelid_core.errors import ArtefactError, CamelidError
from camelid_core.models.gguf import gguf_files
from camelid_core.models.model_size import weights_size
from camelid_core.models.resolved_model import ResolvedModel, pullable_models, resolve_model
from camelid_core.models.template_choice import template_of
from camelid_core.paths import artefacts_dir, models_dir
from camelid_core.plugins import Host
from camelid_core.records import Message, is_text
from camelid_core.templates.template import PromptTemplate
from camelid_core.tokenization.encoder import IGNORE, Encoder

from .tokenizers import LightTokenizer, light_tokenizer

_INDENT = "\u2003"
_MAX_TOKEN_CHARACTERS = 128
"""No token of a known tokenizer is longer, except runs of spaces."""

TokenKind = Literal["trained", "ignored", "special", "special-trained"]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model one can choose. `kind` is `model`, `adapter`, or `gguf` for one that can generate and nothing else;
    `size` in bytes; `base` for adapters."""

    name: str
    kind: str
    size: int
    base: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """The text of one token, or of several that make a character only together."""

    text: str
    kind: TokenKind
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class TokenView:
    """The tokens of a conversation with their loss mask, or of a prompt. `template` is empty for a text by itself, of
    which `beyond` tokens are in later pieces."""

    spans: tuple[TokenSpan, ...]
    template: str
    beyond: int = 0

    def count(self, *kinds: TokenKind) -> int:
        return sum(piece.tokens for piece in self.spans if not kinds or piece.kind in kinds)


class ModelService:
    """Lists models and tokenizes with them."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._encoder = functools.lru_cache(maxsize=8)(self._load_encoder)

    def all(self) -> list[ModelEntry]:
        """Artefacts, the newest first, then plain models."""
        artefacts = sorted(_artefacts(artefacts_dir()), key=lambda entry: entry.created, reverse=True)
        return [*artefacts, *sorted(_models(models_dir()), key=lambda entry: entry.name)]

    def bases(self) -> list[str]:
        """Base models for training: full models on this machine, then those that can be pulled."""
        here = [entry.name for entry in self.all() if entry.kind == "model"]
        return here + [name for name in pullable_models(self.host.adapters) if name not in here]

    def names(self) -> list[str]:
        return [entry.name for entry in self.all()]

    def adapters(self) -> list[ModelEntry]:
        return [entry for entry in self.all() if entry.kind == "adapter"]

    def grouped(self) -> list[tuple[str, str]]:
        """Labels and names, each base model with its adapters indented below it; adapters of other bases are last."""
        every = self.all()
        below: dict[str, list[ModelEntry]] = {}
        for entry in every:
            if entry.kind == "adapter":
                below.setdefault(self._base_name(entry), []).append(entry)
        rows: list[tuple[str, str]] = []
        for entry in every:
            if entry.kind != "adapter":
                rows.append((entry.name, entry.name))
                rows += [(_INDENT + tuned.name, tuned.name) for tuned in below.pop(entry.name, [])]
        return rows + [(tuned.name, tuned.name) for rest in below.values() for tuned in rest]

    def base_of(self, name: str) -> str:
        """The name of an adapter's base model on this machine; empty for a full model.

        Raises:
            UnknownName, ModelError: as `resolve` does.
        """
        found = self.resolve(name)
        if found.adapter_dir is None:
            return ""
        here = {entry.name for entry in self.all() if entry.kind == "model"}
        return found.base.name if found.base.name in here else found.base_id

    def _base_name(self, entry: ModelEntry) -> str:
        try:
            return self.base_of(entry.name)
        except CamelidError:  # its base model is gone
            return entry.base

    def count_tokens(self, name: str, messages: Sequence[Message], limit: int) -> int:
        """Tokens of a conversation as `name` reads it, ended by a question or by an answer; what is longer than
        `limit` whatever its tokens are is not counted to the end."""
        if sum(len(message.content) for message in messages) > limit * _MAX_TOKEN_CHARACTERS:
            return limit
        return len(self.encoder(name).given_ids(messages))

    def templates(self) -> list[str]:
        return self.host.templates.names()

    def resolve(self, name: str, gguf: bool = True) -> ResolvedModel:
        """Raises UnknownName or ModelError; for a GGUF file too, unless `gguf` allows it."""
        return resolve_model(name, self.host, gguf)

    def template(self, name: str, chosen: str = "") -> PromptTemplate:
        """The chosen template, else the model's own."""
        return template_of(self.resolve(name), self.host, chosen)

    def encoder(self, name: str, template: str = "") -> Encoder:
        """Raises UnknownName, ModelError: no such model, or one without a fast tokenizer."""
        resolved = self.resolve(name)
        return self._encoder(name, template or resolved.template, str(resolved.adapter_dir or resolved.base))

    def tokens(self, name: str, messages: Sequence[Message], template: str = "", cutoff: int = 0) -> TokenView:
        """A conversation's tokens with their loss mask; a positive `cutoff` truncates as training does. Of a text by
        itself that is its first piece."""
        encoder = self.encoder(name, template)
        example = encoder.example(messages)
        end = cutoff or len(example.input_ids)
        trained = [label != IGNORE for label in example.labels[:end]]
        view = self._view(encoder, example.input_ids[:end], trained)
        if is_text(messages):
            return replace(view, template="", beyond=len(example.input_ids[end:]))
        return view

    def prompt(self, name: str, messages: Sequence[Message], template: str = "") -> TokenView:
        """The prompt with which the model answers the last message, or continues it where it is an answer."""
        encoder = self.encoder(name, template)
        ids = encoder.given_ids(messages)
        return self._view(encoder, ids, [False] * len(ids))

    def _view(self, encoder: Encoder, ids: Sequence[int], trained: Sequence[bool]) -> TokenView:
        return TokenView(tuple(_token_spans(encoder.tokenizer, ids, trained)), encoder.template.name)

    def _load_encoder(self, name: str, template: str, _path: str) -> Encoder:
        resolved = self.resolve(name)
        return Encoder(light_tokenizer(resolved), template_of(resolved, self.host, template))


def _token_spans(tokenizer: LightTokenizer, ids: Sequence[int], trained: Sequence[bool]) -> Iterator[TokenSpan]:
    """Token by token; tokens that are parts of one character are joined."""
    special = tokenizer.special_ids
    held: list[int] = []
    for index, token in enumerate(ids):
        if token in special:
            text = tokenizer.decode([token])
            yield TokenSpan(text, "special-trained" if trained[index] else "special")
            continue
        held.append(token)
        text = tokenizer.decode(held)
        last = index + 1 == len(ids) or trained[index + 1] != trained[index] or ids[index + 1] in special
        if not text.endswith("\ufffd") or last or len(held) >= 8:
            yield TokenSpan(text, "trained" if trained[index] else "ignored", len(held))
            held = []


def _artefacts(directory: Path) -> Iterator[ModelEntry]:
    for path in _directories(directory):
        try:
            manifest = read_artefact(path).manifest if is_artefact(path) else None
        except ArtefactError:
            continue  # being written, or damaged: `camelid models show` says which
        if manifest is not None and manifest.kind in ("adapter", "model", "gguf"):
            size = sum(entry.size for entry in manifest.files.values())
            yield ModelEntry(
                path.name, manifest.kind, size, manifest.base.id if manifest.base else "", manifest.created
            )


def _models(directory: Path) -> Iterator[ModelEntry]:
    for path in _directories(directory):
        size = weights_size(path)
        files = [] if size else gguf_files(path)
        if files:
            yield ModelEntry(path.name, "gguf", sum(file.stat().st_size for file in files))
        elif (path / "config.json").is_file():
            yield ModelEntry(path.name, "model", size)


def _directories(directory: Path) -> list[Path]:
    found = directory.iterdir() if directory.is_dir() else iter(())
    return [path for path in found if path.is_dir() and not path.name.startswith(".")]
