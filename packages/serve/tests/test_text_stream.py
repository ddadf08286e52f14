"""Whatever tokens a text consists of, the streamed pieces join to it, without partial characters or stop texts."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from camelid_core.testing import tiny_tokenizer
from camelid_core.tokenization.token_decoder import TokenDecoder
from camelid_serve.text_stream import Detokeniser, StopFilter, TextStream
from hypothesis import given
from hypothesis import strategies as st

texts = st.text(st.one_of(st.characters(codec="utf-8", exclude_characters="\ufffd"), st.sampled_from("中文🦙é ab\n")))


@functools.cache
def byte_tokenizer() -> Any:
    return tiny_tokenizer()


@functools.cache
def sentence_tokenizer() -> Any:
    """SentencePiece's ways: a space before each word, and bytes for what it does not know."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁a", "b", "▁the", "e", "中"]
    backend = Tokenizer(
        models.BPE(vocab={piece: n for n, piece in enumerate(pieces)}, merges=[], byte_fallback=True, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return TokenDecoder(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))


def pieces(stream: Any, ids: list[int]) -> list[str]:
    return [*(stream.push(token) for token in ids), stream.finish()]


@given(texts)
def test_pieces_join_to_the_text(text: str) -> None:
    tokenizer = byte_tokenizer()
    given_out = pieces(Detokeniser(TokenDecoder(tokenizer)), tokenizer(text)["input_ids"])
    assert "".join(given_out) == text
    assert not any("\ufffd" in piece for piece in given_out)


@given(texts)
def test_pieces_join_with_byte_fallback(text: str) -> None:
    decoder = sentence_tokenizer()
    ids = decoder.tokenizer(text)["input_ids"]
    skipped = [token for token in ids if token not in decoder.special]  # the unknown token is no text
    assert "".join(pieces(Detokeniser(decoder), ids)) == decoder.text(skipped)


def test_a_character_cut_short_is_dropped() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer("ok 🦙")["input_ids"][:-1]
    assert "".join(pieces(Detokeniser(TokenDecoder(tokenizer)), ids)) == "ok "


@given(st.text("abAB\n", max_size=30), st.lists(st.text("abAB\n", min_size=1, max_size=4), max_size=3), st.data())
def test_no_stop_text_is_shown(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stop_filter = StopFilter(stops)
    shown = "".join([*(stop_filter.push(part) for part in parts), stop_filter.finish()])
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    assert (shown == text) is not stop_filter.stopped


def test_text_that_only_begins_like_a_stop_is_shown_in_the_end() -> None:
    stop_filter = StopFilter(["USER:"])
    assert stop_filter.push("The US") == "The "
    assert stop_filter.push("A won") == "USA won"


@pytest.mark.parametrize("stop", ["中文", "文"])
def test_stop_text_within_characters_of_several_tokens(stop: str) -> None:
    tokenizer = byte_tokenizer()
    stream = TextStream(TokenDecoder(tokenizer), [stop])
    shown = "".join(pieces(stream, tokenizer("a 中文 b")["input_ids"]))
    assert stream.stopped
    assert shown == "a 中文".split(stop)[0]
