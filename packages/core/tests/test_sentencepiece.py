"""SentencePiece models read and used without their library: the ids are those that it gives.

`sentencepiece/*.model` were trained by SentencePiece 0.2.3, and `ids.json` holds what it encodes.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from camelid_core.errors import ModelError
from camelid_core.models.sentencepiece_model import PieceType, read_sentencepiece
from camelid_core.models.sentencepiece_tokenizer import TokenizerSettings, fast_tokenizer, save_fast_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

HERE = Path(__file__).parent / "sentencepiece"
IDS = json.loads((HERE / "ids.json").read_text(encoding="utf-8"))
SETTINGS = TokenizerSettings(control=r"<reserved_\d+>|<eo[ah]>")
NAMED = ("<s>", "</s>", "<unk>")


@cache
def tokenizer_of(name, settings=SETTINGS):
    return fast_tokenizer(read_sentencepiece(HERE / f"{name}.model"), settings, NAMED)


@pytest.mark.parametrize("name", IDS)
def test_texts_have_sentencepieces_ids(name):
    tokenizer = tokenizer_of(name)
    for text, ids in IDS[name].items():
        if "<eoh>" not in text:
            assert tokenizer.encode(text, add_special_tokens=False).ids == ids, text


@pytest.mark.parametrize("name", ["bpe-prefix", "bpe-plain"])
def test_texts_come_back(name):
    """Whatever SentencePiece itself does not normalise; a space before a text is its own, and is taken off."""
    tokenizer = tokenizer_of(name)
    for text in [text for text in IDS[name] if "<eoh>" not in text]:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="▁\0"), max_size=30))
def test_any_text_comes_back(text):
    tokenizer = tokenizer_of("bpe-plain")
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_a_symbol_within_a_text_is_one_token_and_takes_no_space_behind_it():
    """Where SentencePiece sees control tokens itself, as user-defined symbols, its space is before the text alone."""
    text = "x <reserved_106>y<eoh>z"
    once = tokenizer_of("bpe-prefix", TokenizerSettings(control=SETTINGS.control, dummy_prefix_once=True))
    assert once.encode(text).ids == IDS["bpe-prefix"][text]
    assert tokenizer_of("bpe-plain").encode(text).ids == IDS["bpe-plain"][text]


def write(folder, **files):
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def saved(source, output, settings=SETTINGS):
    save_fast_tokenizer(read_sentencepiece(HERE / "bpe-plain.model"), source, output, settings, 64)
    return AutoTokenizer.from_pretrained(output, trust_remote_code=False)


def test_added_tokens_come_behind_the_pieces_or_in_the_place_of_one(tmp_path):
    decoder = {
        "702": {"content": "<|b|>", "special": True},
        "12": {"content": "<|in|>", "special": True, "rstrip": True},
    }
    source = write(
        tmp_path, tokenizer_config={"added_tokens_decoder": decoder}, added_tokens={"<|a|>": 700, "<|c|>": 701}
    )
    tokenizer = saved(source, tmp_path / "out")
    assert tokenizer.convert_tokens_to_ids(["<|in|>", "<|a|>", "<|c|>", "<|b|>"]) == [12, 700, 701, 702]
    assert tokenizer("a<|in|> b", add_special_tokens=False)["input_ids"][1:] == [12, *tokenizer("b")["input_ids"][1:]]


def test_an_added_token_whose_id_is_taken_is_a_sentence(tmp_path):
    with pytest.raises(ModelError, match=r"'<\|a\|>' has id 900 in its files, where the next free one is 700"):
        saved(write(tmp_path, added_tokens={"<|a|>": 900}), tmp_path / "out")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"added_tokens": {"<|a|>": "seven"}}, "the id 'seven', which is none"),
        ({"tokenizer_config": {"added_tokens_decoder": {"700": "x"}}}, "adds 'x' as a token, which is none"),
        ({"tokenizer_config": {"bos_token": "<bos>"}}, "name '<bos>', which its vocabulary lacks"),
    ],
)
def test_damaged_files_of_a_tokenizer_are_a_sentence(tmp_path, files, message):
    with pytest.raises(ModelError, match=message):
        saved(write(tmp_path, **files), tmp_path / "out")


def test_named_tokens_and_those_around_a_text_are_as_the_files_say(tmp_path):
    config = {"add_bos_token": False, "add_eos_token": True, "pad_token": {"content": "<unk>"}}
    tokenizer = saved(write(tmp_path, tokenizer_config=config), tmp_path / "out")
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.model_max_length) == ("<unk>", "<s>", 64)
    ids = tokenizer("ab")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert ids[0] != tokenizer.bos_token_id


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-3], lambda data: b"\xff" * 40, lambda data: b"{}"]
)
def test_what_is_no_model_is_a_sentence(tmp_path, damage):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(damage((HERE / "bpe-plain.model").read_bytes()))
    with pytest.raises(ModelError, match="SentencePiece model"):
        read_sentencepiece(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_sentencepiece(tmp_path / "none.model")


@given(st.binary(max_size=60))
def test_no_bytes_are_more_than_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.model"
    path.write_bytes(data)
    try:
        read_sentencepiece(path)
    except ModelError:
        return
    raise AssertionError("no piece is the unknown one, so this is no model")


def test_pieces_have_their_types():
    pieces = read_sentencepiece(HERE / "bpe-plain.model").pieces
    assert [pieces[number].type for number in (0, 1, 5)] == [
        PieceType.UNKNOWN, PieceType.CONTROL, PieceType.USER_DEFINED,
    ]  # fmt: skip
