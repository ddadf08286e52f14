"""Segments of text: who wrote each and whether it is trained (the loss mask). Knows bytes; no roles, no token ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from camelid_core.errors import DataError

EOS = "{eos}"
"""Placeholder in a template's text for the tokenizer's own end-of-sequence token."""

BOS = "{bos}"
"""The same for the beginning of sequence, in templates that repeat it with every turn. The one at the start of the
text is added by the encoder, as the tokenizer itself would."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text with one author. `control` text was written by the template: control tokens in it are tokens.
    Other text came from a person or a model: whatever it spells, it stays plain text.
    `token_boundary`: a prompt ends before it, so it never shares a token with what comes before."""

    text: str
    trained: bool = False
    control: bool = False
    token_boundary: bool = False


NO_REASONING = "<think>\n\n</think>\n\n"
"""What begins an answer without reasoning where a model is used to reasoning (Qwen 3)."""

REASONING_MARKS = ("<think>", "</think>", "[THINK]", "[/THINK]", "<seed:think>", "</seed:think>", "◁think▷", "◁/think▷")
"""Texts around a model's reasoning. In an answer they are tokens where the tokenizer has them, as the model writes
them; they end no turn, so nothing a person wrote can pass for another turn. Anywhere else they are text."""

_MARKS = re.compile("(" + "|".join(map(re.escape, REASONING_MARKS)) + ")")


def split_reasoning_marks(text: str) -> Iterator[tuple[str, bool]]:
    """The pieces of an answer, each with whether it is a mark of reasoning."""
    return ((piece, number % 2 == 1) for number, piece in enumerate(_MARKS.split(text)))


PLACEHOLDER = re.compile(r"\{(content|context|system|round)\}")


def merge_segments(segments: Iterator[Segment] | Sequence[Segment]) -> list[Segment]:
    """Merge neighbours of the same author and loss mask; drop empty segments."""
    merged: list[Segment] = []
    for segment in segments:
        if not segment.text:
            continue
        last = merged[-1] if merged else None
        if (
            last is not None
            and not segment.token_boundary
            and (last.trained, last.control) == (segment.trained, segment.control)
        ):
            merged[-1] = Segment(last.text + segment.text, last.trained, last.control, last.token_boundary)
        else:
            merged.append(segment)
    return merged


def without_loss(segments: Sequence[Segment], answers: Sequence[bool]) -> list[Segment]:
    """The segments of a conversation whose k-th answer is trained only if `answers[k]` is.

    Raises:
        DataError: the template does not mark as many answers as there are, so that one cannot be told from another.
    """
    found, number, before = [], -1, False
    for segment in segments:
        if segment.text:
            number += segment.trained and not before
            before = segment.trained
        keep = segment.trained and number < len(answers) and answers[number]
        found.append(segment if keep or not segment.trained else replace(segment, trained=False))
    if number + 1 != len(answers):
        raise DataError(
            f"the template marks {number + 1} answers to learn from in a conversation of {len(answers)}, so single "
            "ones cannot be left out of the loss. Choose another template."
        )
    return found


def segments_text(segments: Sequence[Segment], eos: str = "</s>", bos: str = "<s>") -> str:
    """The exact text, with the tokens that end and begin a sequence written as `eos` and `bos`."""
    return "".join(
        fill_special_tokens(segment.text, eos, bos) if segment.control else segment.text for segment in segments
    )


def trained_spans(segments: Sequence[Segment], eos: str = "</s>", bos: str = "<s>") -> tuple[tuple[int, int], ...]:
    """(start, end) of every trained span in the exact text; adjacent ones as one."""
    spans: list[tuple[int, int]] = []
    end = 0
    for segment in segments:
        start, end = end, end + len(segments_text([segment], eos, bos))
        if segment.trained and spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        elif segment.trained and end > start:
            spans.append((start, end))
    return tuple(spans)


def fill_special_tokens(text: str, eos: str, bos: str) -> str:
    """A template's own text with the tokenizer's tokens in place of the placeholders."""
    return text.replace(EOS, eos).replace(BOS, bos)
