"""A token shown to people: its space, its text, or its bytes."""

from __future__ import annotations

import ast

from camelid_core.tokenization.token_decoder import TokenDecoder
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_backend = Tokenizer(
    models.BPE(
        {piece: number for number, piece in enumerate([*_BYTES, "▁", "H", "▁H"])}, [("▁", "H")], byte_fallback=True
    )
)
_backend.pre_tokenizer = pre_tokenizers.Metaspace()
_backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
TOKENIZER = PreTrainedTokenizerFast(tokenizer_object=_backend)


def test_the_space_of_a_word_is_shown():
    decoder = TokenDecoder(TOKENIZER)
    assert decoder.shown(TOKENIZER.convert_tokens_to_ids("▁H")) == "' H'"
    assert decoder.shown(TOKENIZER.convert_tokens_to_ids("H")) == "'H'"


@given(st.text(min_size=1, max_size=8))
def test_what_is_shown_is_the_whole_text(text):
    decoder = TokenDecoder(TOKENIZER)
    parts = [ast.literal_eval(decoder.shown(token)) for token in TOKENIZER(text)["input_ids"]]
    joined = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts).decode()
    assert joined.removeprefix(" ") == text.replace("▁", " ").removeprefix(" ")
