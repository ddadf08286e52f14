"""Vocabularies: llama.cpp makes the same token ids of text as the tokenizer that was written."""

from __future__ import annotations

import random

import pytest
from camelid_core.errors import ModelError
from camelid_gguf import vocabulary as v
from camelid_gguf.metadata import loadable_name
from camelid_gguf.pre_tokenizers import CHECK_TEXTS, LoadedVocabulary, different, pre_tokenizer_of, write_vocabulary
from camelid_gguf.vocabulary import vocabulary_of
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

_CASES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(pattern):
    first = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
CUTS = {
    "gpt-2": _BYTES,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _BYTES]),
    "qwen2": _split(_CASES + r"\p{N}" + _REST),
    "glm4": _split(_CASES + r"\p{N}{1,3}" + _REST),
    "bloom": _split(r" ?[^(\s|[.,!?…。，、।۔،])]+"),
}
"""llama.cpp's name → how text is cut first."""
CORPUS = [*CHECK_TEXTS, *(text.upper() for text in CHECK_TEXTS), "12 123 1234 12345 isn't ISN'T we've 1.5 2,000!"] * 3
SPECIALS = ["<unk>", "<s>", "</s>", "<|user|>", "<|end|>"]


def byte_tokenizer(cut, **settings):
    backend = Tokenizer(models.BPE(**settings))
    backend.pre_tokenizer, backend.decoder = cut, decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def space_tokenizer():
    """As sentencepiece makes them: spaces written as ▁, bytes for what is unknown, and merges of every pair that makes
    a token."""
    replaced = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner = Tokenizer(models.BPE())
    learner.normalizer = replaced
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    learner.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=700, show_progress=False))
    learnt = sorted(learner.get_vocab(), key=learner.get_vocab().get)
    texts = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *learnt]
    known = {text: number for number, text in enumerate(texts)}
    merges = [
        (text[:at], text[at:]) for text in learnt for at in range(1, len(text)) if {text[:at], text[at:]} <= set(learnt)
    ]
    backend = Tokenizer(models.BPE(known, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = replaced
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.add_special_tokens(SPECIALS)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def texts(count=60):
    """Pieces of the check texts in any order, so that other borders are met."""
    numbers = random.Random(3)
    pieces = [text[at : at + 9] for text in CHECK_TEXTS for at in range(0, len(text), 7)]
    return ["".join(numbers.choices(pieces, k=6)) for _ in range(count)]


def ids_by_llamacpp(vocabulary, pre, file, given):
    write_vocabulary(vocabulary, pre, file)
    with LoadedVocabulary(file) as loaded:
        return [loaded.ids(text) for text in given]


@pytest.mark.parametrize("name", CUTS)
def test_the_pre_tokenizer_is_found_and_gives_the_same_ids(name, tmp_path):
    tokenizer = byte_tokenizer(CUTS[name])
    vocabulary = vocabulary_of(tokenizer, len(tokenizer), ())
    found = pre_tokenizer_of(tokenizer, vocabulary, tmp_path / "it.gguf")
    assert found == name
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts()]
    assert ids_by_llamacpp(vocabulary, found, tmp_path / "it.gguf", texts()) == expected


def test_a_tokenizer_that_takes_whole_words_before_merges_gets_a_name_that_does(tmp_path):
    tokenizer = byte_tokenizer(CUTS["glm4"], ignore_merges=True)
    vocabulary = vocabulary_of(tokenizer, len(tokenizer), ())
    assert pre_tokenizer_of(tokenizer, vocabulary, tmp_path / "it.gguf") == "llama-bpe"
    assert not list(tmp_path.iterdir())


def test_text_that_llamacpp_cannot_cut_so_is_refused(tmp_path):
    cut = pre_tokenizers.Sequence([pre_tokenizers.Split("e", "isolated"), _BYTES])
    tokenizer = byte_tokenizer(cut)
    with pytest.raises(ModelError, match="no pre-tokenizer that cuts text as its tokenizer does"):
        pre_tokenizer_of(tokenizer, vocabulary_of(tokenizer, len(tokenizer), ()), tmp_path / "it.gguf")
    assert not list(tmp_path.iterdir())


def test_words_with_spaces_get_the_same_ids(tmp_path):
    tokenizer = space_tokenizer()
    vocabulary = vocabulary_of(tokenizer, len(tokenizer), ())
    assert (vocabulary.kind, vocabulary.space_first, vocabulary.adds) == ("llama", True, {"bos": True, "eos": False})
    assert [vocabulary.types[n] for n in (0, 1, 4, 5, 260, 261)] == [
        v.UNKNOWN, v.CONTROL, v.CONTROL, v.BYTE, v.BYTE, v.NORMAL
    ]  # fmt: skip
    assert pre_tokenizer_of(tokenizer, vocabulary, tmp_path / "it.gguf") == "default"
    assert different(tokenizer, vocabulary, "default", tmp_path / "it.gguf") == []
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts()]
    assert ids_by_llamacpp(vocabulary, "default", tmp_path / "it.gguf", texts()) == expected


def test_rows_without_a_token_are_unused_and_tokens_without_a_row_refused():
    tokenizer = byte_tokenizer(_BYTES)
    size = len(tokenizer)
    vocabulary = vocabulary_of(tokenizer, size + 3, ())
    assert list(vocabulary.types[-3:]) == [v.UNUSED] * 3
    assert len(set(vocabulary.tokens)) == size + 3
    with pytest.raises(ModelError, match=f"ids up to {size - 1}, and its embedding table {size - 1} rows"):
        vocabulary_of(tokenizer, size - 1, ())


def test_added_tokens_end_answers_or_are_plain_text():
    tokenizer = byte_tokenizer(_BYTES)
    tokenizer.add_tokens(["<tool>"])
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    vocabulary = vocabulary_of(tokenizer, len(tokenizer), [tokenizer.eos_token_id, end])
    assert vocabulary.special == {"bos": 1, "eos": 2, "unk": 0, "eot": end}
    assert vocabulary.types[end] == v.CONTROL
    assert vocabulary.types[-1] == v.USER_DEFINED
    assert vocabulary.metadata("gpt-2")["tokenizer.ggml.eot_token_id"] == end


def test_a_kind_of_tokenizer_that_cannot_be_written_is_named():
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(ModelError, match=r"its tokenizer \(WordPiece\) is none that can be written"):
        vocabulary_of(PreTrainedTokenizerFast(tokenizer_object=backend), 2, ())


def test_what_llamacpp_cannot_be_told_is_said():
    tokenizer = byte_tokenizer(_BYTES)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|user|> <s> $A", special_tokens=[("<|user|>", 3), ("<s>", 1)]
    )
    vocabulary = vocabulary_of(tokenizer, len(tokenizer), ())
    assert vocabulary.adds["bos"]
    assert ["normalises text to NFC" in note for note in vocabulary.notes] == [True, False]
    assert "'<|user|>' around every text" in vocabulary.notes[1]


@pytest.mark.parametrize(
    ("name", "known", "strips", "shown"),
    [
        ("phi3-mini", False, False, "Phi 3-mini"),
        ("Phi-3-mini", True, True, "Phi-3-mini"),
        ("mine", True, True, "mine (Phi-3)"),
        ("mine", False, True, "mine"),
    ],
)
def test_names_that_llamacpp_reads_something_from(name, known, strips, shown):
    """A model called so without those tokens cannot be loaded at all."""
    tokens = ["</s>", "<unk>", "<s>", "<|endoftext|>"] if known else ["a"]
    assert loadable_name(name, tokens, strips) == shown
