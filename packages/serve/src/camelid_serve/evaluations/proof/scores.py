"""Scores of texts: at each token that counts, what a model holds likely to come there; on disk for the model that
compares with it later.

Two models need not fit into memory together: the source's scores are written text by text, and the export's are
compared piece by piece as they come. Whole distributions are kept in float16, as llama.cpp's perplexity tool keeps
16 bits too: at a log-probability of -1 that is a rounding of 0.0005, which changes a KL divergence by its square.
Knows tensors and safetensors files. Knows no engine and no statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from camelid_core import staging
from safetensors import safe_open
from safetensors.torch import save_file

_LEAST = -1e4
"""Log-probabilities are not lower: minus infinity has no float16 that can be subtracted."""
_ROWS = 64
"""Rows that are compared at once: each is as wide as the vocabulary."""
_SMALLEST = 1e-7
"""Smallest probability of the lumped rest: what float32 can tell from nothing."""
ABSENT = -1


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores at T tokens. `own` [T] is the log-probability of the token that is there (NaN: unknown), `top` [T] the
    likeliest token. `logprobs` [T, V] are those of all tokens as float16 or, where `ids` [T, k] names them, of k tokens
    as float32; an id of -1 is none."""

    own: torch.Tensor
    top: torch.Tensor
    logprobs: torch.Tensor
    ids: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.own)

    def rows(self, start: int, end: int) -> Scores:
        ids = None if self.ids is None else self.ids[start:end]
        return Scores(self.own[start:end], self.top[start:end], self.logprobs[start:end], ids)


def whole(logprobs: torch.Tensor, tokens: torch.Tensor) -> Scores:
    """Scores from whole distributions, float32 [T, V], and the tokens that are there."""
    own = logprobs.gather(-1, tokens[:, None])[:, 0]
    return Scores(own, logprobs.argmax(-1), logprobs.clamp(min=_LEAST).half())


def joined(pieces: list[Scores]) -> Scores:
    """One after the other: one piece alone, or several of whole distributions."""
    if len(pieces) == 1:
        return pieces[0]
    return Scores(*(torch.cat([getattr(piece, name) for piece in pieces]) for name in ("own", "top", "logprobs")))


def divergences(source: Scores, export: Scores) -> torch.Tensor:
    """KL(source ‖ export) in nats at each token, [T], as float64.

    With whole distributions on both sides it is exact. Where a side knows only some tokens, those that both know stand
    for themselves and all others are lumped into one: that is never more than the whole divergence (data processing
    inequality; Cover and Thomas 2006, section 2.8).
    """
    parts = (
        _divergences(source.rows(start, start + _ROWS), export.rows(start, start + _ROWS))
        for start in range(0, len(source), _ROWS)
    )
    return torch.cat([*parts, torch.empty(0, dtype=torch.float64)])


def _divergences(source: Scores, export: Scores) -> torch.Tensor:
    ours, theirs, lumped = _known_to_both(source, export)
    shares = ours.exp()
    found = torch.where(shares > 0, shares * (ours - theirs), 0.0).double().sum(-1)
    if lumped:
        rest, other = ((1 - each.exp().double().sum(-1)).clamp(min=_SMALLEST) for each in (ours, theirs))
        found += rest * (rest / other).log()
    return found.clamp(min=0)  # below zero it is rounding


def _known_to_both(source: Scores, export: Scores) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Log-probabilities under both of the tokens that both know, minus infinity where there is none; and whether there
    are others."""
    if source.ids is None and export.ids is None:
        width = min(source.logprobs.shape[1], export.logprobs.shape[1])
        lumped = source.logprobs.shape[1] != export.logprobs.shape[1]
        return _normal(source.logprobs)[:, :width], _normal(export.logprobs)[:, :width], lumped
    if source.ids is None or export.ids is None:
        few, all_ = (export, source) if source.ids is None else (source, export)
        assert few.ids is not None
        there = (few.ids >= 0) & (few.ids < all_.logprobs.shape[1])
        found = _normal(all_.logprobs).gather(-1, few.ids.clamp(0, all_.logprobs.shape[1] - 1))
        known, looked_up = (each.masked_fill(~there, -torch.inf) for each in (few.logprobs, found))
        return (looked_up, known, True) if few is export else (known, looked_up, True)
    same = (source.ids[:, :, None] == export.ids[:, None, :]) & (source.ids >= 0)[:, :, None]
    theirs = torch.where(same, export.logprobs[:, None, :], -torch.inf).amax(-1)
    return source.logprobs.masked_fill(~same.any(-1), -torch.inf), theirs, True


def _normal(logprobs: torch.Tensor) -> torch.Tensor:
    """float32 again, and adding up to one again: rounding to float16 counts by its square alone then."""
    return logprobs.float().log_softmax(-1)


class ScoresOnDisk:
    """Scores by the number of their text, in this attempt's directory or in those of earlier ones."""

    def __init__(self, name: str, directory: Path, earlier: tuple[Path, ...] = ()) -> None:
        self._places = [directory / name, *(each / name for each in earlier)]

    def add(self, text: int, scores: Scores) -> None:
        """Write those of a text. A kill leaves the whole file or none."""
        place = self._places[0]
        place.mkdir(exist_ok=True)
        tensors = {"own": scores.own, "top": scores.top, "logprobs": scores.logprobs}
        if scores.ids is not None:
            tensors["ids"] = scores.ids
        with staging.file(place / _file_name(text)) as staged:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, staged)
            staged.replace(place / _file_name(text))

    def __contains__(self, text: int) -> bool:
        return self._find(text) is not None

    def __getitem__(self, text: int) -> StoredScores:
        path = self._find(text)
        if path is None:
            raise KeyError(text)
        return StoredScores(path)

    def remove(self, text: int) -> None:
        """Free the disk space of a text's scores."""
        for place in self._places:
            (place / _file_name(text)).unlink(missing_ok=True)

    def _find(self, text: int) -> Path | None:
        paths = (place / _file_name(text) for place in self._places)
        return next((path for path in paths if path.is_file()), None)


class StoredScores:
    """Scores in a file, of which rows are read on demand."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, start: int, end: int) -> Scores:
        with safe_open(self._path, "pt") as file:
            names = set(file.keys())
            parts: dict[str, Any] = {name: file.get_slice(name)[start:end] for name in names}
        return Scores(**parts)


def _file_name(text: int) -> str:
    return f"{text:05}.safetensors"
