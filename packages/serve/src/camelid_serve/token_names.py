"""Tokens with log-probabilities → what the API says of each: its name, its bytes, and where its text begins.

Joined names are the text, save where a token is a part of a character: that one is named by its bytes, as OpenAI does
(`bytes:\\xe5\\xa4`), and control tokens, which are named by themselves and are no part of an answer's text. Two tokens
never share a name at one position: the second is `token_id:NUMBER`. Knows a tokenizer. Knows no engine and no JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camelid_core.tokenization.token_decoder import INCOMPLETE, TokenDecoder

from .engine import TokenLogprob
from .text_stream import Detokeniser


class TokenNames:
    """Names the tokens of one text, in order; the text stands behind the ids `before`.

    `written` is the text that a person gave, where the tokens are those of a prompt: its control tokens are part of the
    text if they were written there. `by_id` names all tokens `token_id:NUMBER`.
    """

    def __init__(
        self, decoder: TokenDecoder, before: Sequence[int] = (), written: str | None = None, by_id: bool = False
    ) -> None:
        self._decoder = decoder
        self._detokeniser = Detokeniser(decoder, before)
        self._written = written
        self._by_id = by_id
        self._offset = 0

    def describe(self, one: TokenLogprob) -> dict[str, Any]:
        """`text`, `logprob`, `bytes`, `offset` (in characters) and `top`, [text, logprob, bytes] of the likeliest."""
        chosen, taken = self._name(one.token), {}
        taken[chosen] = one.token
        top = []
        for token, logprob in one.top:
            name = self._name(token)
            if taken.setdefault(name, token) != token:
                name = f"token_id:{token}"
            top.append([name, logprob, list(self._decoder.bytes_of(token))])
        described = {
            "text": chosen,
            "logprob": one.logprob,
            "bytes": list(self._decoder.bytes_of(one.token)),
            "offset": self._begin(one.token, chosen),
            "top": top,
        }
        self._advance(one.token)
        return described

    def _name(self, token: int) -> str:
        if self._by_id:
            return f"token_id:{token}"
        own = self._decoder.bytes_of(token)
        if token in self._decoder.special:
            return own.decode() if self._written is None or self._is_written(own.decode()) else ""
        whole = own.decode("utf-8", "replace")
        if INCOMPLETE in whole:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in own)
        text = self._detokeniser.peek(token)
        return whole if INCOMPLETE in text else text  # what stands before it there never became a character

    def _begin(self, token: int, name: str) -> int:
        """Where the token's text begins: behind bytes that never became a character, if there are any."""
        before = "" if token in self._decoder.special else self._detokeniser.peek(token)
        return self._offset + (len(before) - len(name) if name and before.endswith(name) else 0)

    def _advance(self, token: int) -> None:
        if token not in self._decoder.special:
            self._offset += len(self._detokeniser.push(token))
        elif self._written is not None:
            name = self._decoder.bytes_of(token).decode()
            self._offset += len(name) if self._is_written(name) else 0

    def _is_written(self, name: str) -> bool:
        return self._written is not None and self._written.startswith(name, self._offset)
