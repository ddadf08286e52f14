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
    as float32; an id of -1 is none. No token without an id is likelier than `floor` [T]."""

    own: torch.Tensor
    top: torch.Tensor
    logprobs: torch.Tensor
    ids: torch.Tensor | None = None
    floor: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.own)

    def rows(self, start: int, end: int) -> Scores:
        parts = (getattr(self, name) for name in _TENSORS)
        return Scores(*(None if part is None else part[start:end] for part in parts))  # type: ignore[arg-type]


_TENSORS = ("own", "top", "logprobs", "ids", "floor")


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
    for themselves. Of the others, those that the source holds likelier than the export can are lumped into one, which
    the export gives as much as it possibly could, and the rest into another. That is never more than the whole
    divergence (data processing inequality; Cover and Thomas 2006, section 2.8).
    """
    parts = (
        _divergences(source.rows(start, start + _ROWS), export.rows(start, start + _ROWS))
        for start in range(0, len(source), _ROWS)
    )
    return torch.cat([*parts, torch.empty(0, dtype=torch.float64)])


@dataclass(frozen=True, slots=True)
class _Known:
    """Log-probabilities of tokens that both know, [T, n], minus infinity where there is none; `alone` are the source's
    of tokens that the export does not tell, `complete` says that there are no other tokens."""

    ours: torch.Tensor
    theirs: torch.Tensor
    alone: torch.Tensor | None = None
    complete: bool = False


def _divergences(source: Scores, export: Scores) -> torch.Tensor:
    known = _known_to_both(source, export)
    shares = known.ours.exp()
    found = torch.where(shares > 0, shares * (known.ours - known.theirs), 0.0).double().sum(-1)
    if not known.complete:
        found += _of_the_others(known, export.floor)
    return found.clamp(min=0)  # below zero it is rounding


def _of_the_others(known: _Known, floor: torch.Tensor | None) -> torch.Tensor:
    """What the tokens that not both know add at least."""
    rest, other = ((1 - each.exp().double().sum(-1)).clamp(min=_SMALLEST) for each in (known.ours, known.theirs))
    if known.alone is None or floor is None:
        return rest * (rest / other).log()
    shares, most = known.alone.exp().double(), floor.exp().double()
    likely = shares > most[:, None]
    ours = torch.minimum((shares * likely).sum(-1), rest)
    theirs = torch.minimum(other * ours / rest, likely.sum(-1) * most)
    return _share_of(ours, theirs) + _share_of(rest - ours, other - theirs)


def _share_of(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    return torch.special.xlogy(ours, (ours / theirs.clamp(min=_SMALLEST**2)).clamp(min=_SMALLEST**2))


def _known_to_both(source: Scores, export: Scores) -> _Known:
    if source.ids is None and export.ids is None:
        width = min(source.logprobs.shape[1], export.logprobs.shape[1])
        complete = source.logprobs.shape[1] == export.logprobs.shape[1]
        return _Known(_normal(source.logprobs)[:, :width], _normal(export.logprobs)[:, :width], complete=complete)
    if export.ids is None:
        return _Known(*_looked_up(source, export))
    if source.ids is None:
        theirs, ours = _looked_up(export, source)
        ids = export.ids.clamp(0, source.logprobs.shape[1] - 1)
        return _Known(ours, theirs, _normal(source.logprobs).scatter(-1, ids, -torch.inf))
    same = (source.ids[:, :, None] == export.ids[:, None, :]) & (source.ids >= 0)[:, :, None]
    both = same.any(-1)
    theirs = torch.where(same, export.logprobs[:, None, :], -torch.inf).amax(-1)
    ours, alone = (source.logprobs.masked_fill(without, -torch.inf) for without in (~both, both))
    return _Known(ours, theirs, alone)


def _looked_up(few: Scores, all_: Scores) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the tokens that `few` names, under both."""
    assert few.ids is not None
    width = all_.logprobs.shape[1]
    absent = (few.ids < 0) | (few.ids >= width)
    found = _normal(all_.logprobs).gather(-1, few.ids.clamp(0, width - 1))
    return few.logprobs.masked_fill(absent, -torch.inf), found.masked_fill(absent, -torch.inf)


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
        named = {name: getattr(scores, name) for name in _TENSORS}
        tensors = {name: tensor for name, tensor in named.items() if tensor is not None}
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
            parts: dict[str, Any] = {name: file.get_slice(name)[start:end] for name in _TENSORS if name in names}
        return Scores(**parts)


def _file_name(text: int) -> str:
    return f"{text:05}.safetensors"
