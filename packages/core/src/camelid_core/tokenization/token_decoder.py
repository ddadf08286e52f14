"""Token ids → text as it stands behind the text before them, and the bytes that a token stands for.

Many tokenizers decode a token by its neighbours: SentencePiece drops the space of the first word, so that an answer
decoded by itself loses a space that the model wrote. Knows a tokenizer with a `tokenizers` backend. Knows no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

INCOMPLETE = "\ufffd"
"""What stands in decoded text for a character of which bytes are missing."""
_CONTEXT = 4
"""Tokens before an answer that its first word is decoded after."""
_LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, and so the most tokens that it is split into."""
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenDecoder:
    """Decodes with one tokenizer. Threads may share one."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._added: dict[int, str] = {number: token.content for number, token in added.items()}
        control = (number for number, token in added.items() if token.special)
        self.special = frozenset((*tokenizer.all_special_ids, *control))
        """Ids of control tokens, which are no text."""
        self._text_beginnings: dict[int, bool] = {}
        self._bytes: dict[int, bytes] = {}

    def text(self, ids: Sequence[int]) -> str:
        """The text of these ids by themselves, control tokens written out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def text_after(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """The text of `ids` behind that of `before`, control tokens written out."""
        context = self.context(before)
        known = self.text(context[: self.whole_characters(context)])
        return self.text([*context, *ids])[len(known) :]

    def context(self, before: Sequence[int]) -> list[int]:
        """The last ids of `before`, behind which text must be decoded; none where it stands as at the start of a text.

        It stands so behind a control token too, if the tokenizer itself puts a space before a word there.
        """
        if before and before[-1] in self.special and self.begins_text(before[-1]):
            return []
        words: list[int] = []
        for token in reversed(before):
            if token not in self.special:
                words.insert(0, token)
            if len(words) >= _CONTEXT + _LONGEST_CHARACTER:
                break
        start = max(0, len(words) - _CONTEXT)
        while start > 0 and self.text(words[start:]).startswith(INCOMPLETE):
            start -= 1  # not in the middle of a character
        return words[start:]

    def whole_characters(self, ids: Sequence[int]) -> int:
        """How many of `ids` there are up to the last whole character."""
        for end in range(len(ids), max(0, len(ids) - _LONGEST_CHARACTER), -1):
            if not self.text(ids[:end]).endswith(INCOMPLETE):
                return end
        return max(0, len(ids) - _LONGEST_CHARACTER)

    def begins_text(self, special: int) -> bool:
        """Whether a word behind this token is encoded as at the start of a text."""
        found = self._text_beginnings.get(special)
        if found is None:
            token = self.tokenizer.convert_ids_to_tokens(special)
            behind = self.tokenizer(f"{token}a", add_special_tokens=False)["input_ids"][1:]
            dot = self.tokenizer(".", add_special_tokens=False)["input_ids"]
            found = self._text_beginnings[special] = self.text([*dot, *behind])[len(self.text(dot)) :] != "a"
        return found

    def bytes_of(self, token: int) -> bytes:
        """UTF-8 of the token's text, or the part of a character that it stands for.

        Pieces are in GPT-2's table of printable characters (ByteLevel), or SentencePiece's (`▁`, and `<0xE4>`).
        """
        found = self._bytes.get(token)
        if found is None:
            found = self._bytes[token] = self._decode_piece(token)
        return found

    def shown(self, token: int) -> str:
        """The token for people, quoted, with the space that it begins with; `b'\\xe4'` for a part of a character."""
        own = self.bytes_of(token)
        try:
            return repr(own.decode())
        except UnicodeDecodeError:
            return repr(own)

    def _decode_piece(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        piece = str(self.tokenizer.convert_ids_to_tokens(token) or "")
        if self._byte_table and all(character in self._byte_table for character in piece):
            return bytes(self._byte_table[character] for character in piece)
        byte = _BYTE_TOKEN.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()

    @cached_property
    def _byte_table(self) -> dict[str, int]:
        """Character → byte, of tokenizers that write bytes so."""
        decoder = json.loads(self.tokenizer.backend_tokenizer.to_str())["decoder"]
        return _printable_bytes() if "ByteLevel" in _decoder_types(decoder) else {}


def _decoder_types(decoder: Any) -> set[str]:
    """Names of a `tokenizers` decoder and of those that it consists of."""
    if not isinstance(decoder, dict):
        return set()
    return {str(decoder.get("type"))}.union(*map(_decoder_types, decoder.get("decoders", ())))


def _printable_bytes() -> dict[str, int]:
    """Printable character → the byte that GPT-2's vocabulary writes it for."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
