"""The stable prefix is encoded once and never changes a token id: with every splitting rule, whatever follows."""

from __future__ import annotations

import json
from functools import cache

import pytest
from camelid_core.builtin.templates import ALPACA, CHATML, TULU, VICUNA
from camelid_core.records import alpaca
from camelid_core.testing import tiny_tokenizer
from camelid_core.tokenization.encoder import AT_START, INSIDE_TEXT, Encoder, _Span
from camelid_core.tokenization.stable_prefix import splits_into_words, stable_prefix_length
from hypothesis import given, settings
from hypothesis import strategies as st

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"  # contractions first
LLAMA3 += r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WORDS = {**BYTES, "use_regex": True}


def sequence(*rules):
    return {"type": "Sequence", "pretokenizers": list(rules)}


def split(pattern, **more):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False, **more}


KNOWN = {
    "gpt-2": WORDS,
    "prefix space": {**WORDS, "add_prefix_space": True},
    "split": sequence(split(GPT2), BYTES),
    "llama-3": sequence(split(LLAMA3), BYTES),
    "digits": sequence({"type": "Digits", "individual_digits": True}, WORDS),
}
UNKNOWN = {
    "looks behind": sequence(split(r"(?<=\w)\s+|\w+"), BYTES),
    "looks ahead": sequence(split(r"\w+(?=.*x)|."), BYTES),
    "no words": BYTES,
    "two splits": sequence(split(GPT2), split(LLAMA3), BYTES),
    "removes": sequence(split(GPT2, behavior="Removed"), BYTES),
}


@cache
def made(rule: str, normalizer: str = "null", added: tuple[str, ...] = ()):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    source = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    source["pre_tokenizer"], source["normalizer"] = json.loads(rule), json.loads(normalizer)
    backend = Tokenizer.from_str(json.dumps(source))
    backend.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")


class Slow(Encoder):
    """Encodes every span whole, every time."""

    def _text_span(self, spans, text, trained, constant, fixed):
        position = super()._text_span(spans, text, trained, False, False).encoder
        return _Span(trained, False, [], "".join(text), position)


piece = st.sampled_from(
    [" ", "\n", "\n\n", "\t", "'s", "'", "7", "2024", "é", "e\u0301", "\u0301", "中", ":", "#", "<|im_end|>"]
)
text = st.lists(piece | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=5).map("".join)
records = st.lists(st.builds(alpaca, text, text, text), min_size=1, max_size=5)
templates = st.sampled_from([ALPACA, CHATML, VICUNA, TULU])


def same(tokenizer, template, rows):
    messages = [row.messages for row in rows]
    fast, slow = Encoder(tokenizer, template), Slow(tokenizer, template)
    assert fast.examples(messages) == slow.examples(messages)
    assert fast.tokens(messages).ids.tolist() == slow.tokens(messages).ids.tolist()
    assert [fast.prompt_ids(each[:-1]) for each in messages] == [slow.prompt_ids(each[:-1]) for each in messages]


@settings(max_examples=25)
@given(templates, records)
def test_fast_and_slow_agree_with_every_kind_of_tokenizer(tokenizer, template, rows):
    same(tokenizer, template, rows)


@pytest.mark.parametrize("rule", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}], ids=["plain", "NFC"])
@settings(max_examples=25)
@given(templates, records)
def test_fast_and_slow_agree_with_every_known_rule(rule, normalizer, template, rows):
    same(made(json.dumps(rule), json.dumps(normalizer)), template, rows)


@pytest.mark.parametrize("rule", KNOWN.values(), ids=KNOWN)
def test_a_preamble_is_encoded_once_where_the_rule_is_known(rule):
    tokenizer = made(json.dumps(rule))
    assert splits_into_words(tokenizer.backend_tokenizer)
    encoder = Encoder(tokenizer, ALPACA)
    (span, *_) = encoder._plan(ALPACA.render(alpaca("q", "a").messages))
    assert len(span.ids) >= 20
    assert len(span.text) < 40


@pytest.mark.parametrize("rule", UNKNOWN.values(), ids=UNKNOWN)
def test_nothing_is_fixed_where_the_rule_is_not(rule):
    assert not splits_into_words(made(json.dumps(rule)).backend_tokenizer)


def test_nothing_is_fixed_without_words(tokenizer):
    backend = tokenizer.backend_tokenizer
    known = type(backend.model).__name__ == "BPE" and type(backend.pre_tokenizer).__name__ == "ByteLevel"
    assert splits_into_words(backend) == known


def test_an_added_token_is_not_cut_in_two():
    preamble = "Write what was asked for, and nothing else. Instruction:\n"
    ends = []
    for added in ((), ("n:\nyes", "e.")):
        tokenizer = made(json.dumps(WORDS), added=added)
        encoder = Encoder(tokenizer, ALPACA)._encoders
        ends.append(
            stable_prefix_length(preamble, tokenizer.backend_tokenizer, encoder[AT_START], encoder[INSIDE_TEXT])
        )
    assert ends[1] < ends[0] == len(preamble) - 2
