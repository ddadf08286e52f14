"""A home directory, the `camelid` program in this process, and tokenizers of every kind models use."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import isolated_home, tiny_tokenizer

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tiny models gain nothing from more


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def camelid(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `camelid` with arguments as its entry point would; what it returned and printed."""
    from camelid_core.cli import main

    monkeypatch.setenv("PYTHONSAFEPATH", "")  # main sets it, for good; what is undone is what was changed before
    monkeypatch.delenv("PYTHONSAFEPATH")

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["camelid", *map(str, arguments)])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        printed = capsys.readouterr()
        return Ran(int(code), printed.out, printed.err)

    return run


CORPUS = [
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "### Instruction: ### Response: The answer is 7. 3 * 4 = 12 and 12 - 5 = 7. user assistant system USER: ASSISTANT:",
    "A chat between a curious user and an assistant. How many pens are left? 答案是7。 <|user|> <|im_start|>",
]


@cache
def _byte_level(bos: bool) -> Any:
    from tokenizers import processors

    tokenizer = tiny_tokenizer(("<|im_start|>", "<|im_end|>", "<|endoftext|>"))
    if bos:
        start = tokenizer.convert_tokens_to_ids("<|im_start|>")
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)]
        )
    return tokenizer


@cache
def _sentencepiece(scheme: str, bos: bool = True) -> Any:
    """As LLaMA's: pieces with ▁ for a space, unknown bytes as <0x..>; `scheme`: where a space is put before text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>"]
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if scheme == "legacy" else scheme)
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    )
    source = json.loads(backend.to_str())
    vocabulary = source["model"]["vocab"]
    vocabulary.update({f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)})
    source["model"]["byte_fallback"] = source["model"]["fuse_unk"] = True
    if scheme == "legacy":
        source["pre_tokenizer"] = None
        # converted SentencePiece models hold merges that lead to their control tokens
        for left, right in (("<", "/"), ("</", "s"), ("</s", ">")):
            for piece in (left, right, left + right):
                vocabulary.setdefault(piece, len(vocabulary))
            source["model"]["merges"].append([left, right])
    backend = Tokenizer.from_str(json.dumps(source))
    if scheme == "legacy":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(spaces)
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


@cache
def _unigram() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(CORPUS * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>", pad_token="</s>")


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "byte-level": lambda: _byte_level(False),
    "byte-level+bos": lambda: _byte_level(True),
    "metaspace-first": lambda: _sentencepiece("first"),
    "metaspace-never": lambda: _sentencepiece("never"),
    "metaspace-always": lambda: _sentencepiece("always", bos=False),
    "legacy-llama": lambda: _sentencepiece("legacy"),
    "unigram": _unigram,
}


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[[str], Any]:
    """A tokenizer by its kind."""
    return cache(lambda kind: TOKENIZERS[kind]())


@pytest.fixture(params=TOKENIZERS, scope="session")
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """One tokenizer of each kind."""
    return TOKENIZERS[request.param]()


@pytest.fixture(params=["byte-level", "byte-level+bos"], scope="session")
def byte_level(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


@pytest.fixture(params=[name for name in load_host().templates.names() if name != "own"], scope="session")
def template(request: pytest.FixtureRequest) -> Any:
    """Every registered prompt template."""
    return load_host().templates[request.param]
