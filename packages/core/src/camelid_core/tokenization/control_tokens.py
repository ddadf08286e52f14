"""Control tokens in a template's own text: which there are, and what each does to the text beside it.

An added token may take the white space beside it (`lstrip`, `rstrip`) or stand only between words (`single_word`), as
`tokenizers` defines it. Knows texts and added tokens; no template's format and no token ids of text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from camelid_core.errors import CamelidError
from camelid_core.records import Message
from camelid_core.special_tokens import added_markup, special_tokens
from camelid_core.templates.segments import Segment, fill_special_tokens
from camelid_core.templates.template import PromptTemplate

_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""Unicode's White_Space, which `tokenizers` goes by; Python's `str.isspace` has four more."""
_PROBE = (Message("user", "x"), Message("assistant", "x")) * 2


class Piece(NamedTuple):
    """A control token (its id), or text (-1), of a segment."""

    token: int
    text: str
    segment: Segment


def control_tokens(tokenizer: Any, template: PromptTemplate) -> list[str]:
    """The tokenizer's special tokens, and the added tokens that the template writes although they are not special."""
    specials = special_tokens(tokenizer)
    added = added_markup(tokenizer)
    written = _own_text(template, tokenizer) if added else ""
    return specials + [token for token in added if token in written]


def _own_text(template: PromptTemplate, tokenizer: Any) -> str:
    """The text that the template itself writes, with a system message and without."""
    texts = []
    for messages in (_PROBE, (Message("system", "x"), *_PROBE)):
        try:
            segments = template.render(messages)
        except CamelidError:
            continue
        texts += [segment.text for segment in segments if segment.control]
    return fill_special_tokens("\n".join(texts), tokenizer.eos_token or "", tokenizer.bos_token or "")


class TokenManners:
    """What the control tokens of a tokenizer do to the text beside them; `any` says whether they do anything."""

    def __init__(self, tokenizer: Any) -> None:
        added = tokenizer.added_tokens_decoder.items()
        self._left = {number for number, token in added if token.lstrip}
        self._right = {number for number, token in added if token.rstrip}
        self._alone = {number for number, token in added if token.single_word}
        self.any = bool(self._left | self._right | self._alone)

    def apply(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces of a conversation as the tokenizer reads them; a token takes no white space from a prompt that
        ends before it, which a model was given with it."""
        read = [self._as_text_inside_words(pieces, at) for at in range(len(pieces))]
        for at, piece in enumerate(read):
            if piece.token in self._right:
                self._take_space(read, range(at + 1, len(read)))
            if piece.token in self._left:
                self._take_space(read, range(at - 1, -1, -1), piece.segment.trained)
        return [piece for piece in read if piece.text]

    def _as_text_inside_words(self, pieces: Sequence[Piece], at: int) -> Piece:
        piece = pieces[at]
        if piece.token in self._alone:
            before = pieces[at - 1].text[-1:] if at else ""
            after = pieces[at + 1].text[:1] if at + 1 < len(pieces) else ""
            if _in_word(before) or _in_word(after):
                return piece._replace(token=-1)
        return piece

    @staticmethod
    def _take_space(read: list[Piece], places: range, trained: bool | None = None) -> None:
        for place in places:
            piece = read[place]
            if piece.token >= 0 or (trained is not None and trained != piece.segment.trained):
                return
            text = piece.text.lstrip(_WHITE_SPACE) if places.step > 0 else piece.text.rstrip(_WHITE_SPACE)
            read[place] = piece._replace(text=text)
            if text:
                return


def _in_word(character: str) -> bool:
    """Whether a character is of a word as Unicode's regular expressions have it."""
    return bool(character) and (character.isalnum() or unicodedata.category(character) in ("Mn", "Mc", "Me", "Pc"))
