"""Makes the small SentencePiece models of the tests, and what the original tokenizers give with them.

Needs `sentencepiece` (made with 0.2.3), which the tests do not. The rules are those of tokenization_chatglm.py:
ChatGLM-6B's `SPTokenizer` writes white space as symbols first, ChatGLM2's and ChatGLM3's give the text as it is.

    python make_tokenizers.py
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece

HERE = Path(__file__).parent
IMAGES = 5
TEXTS = [
    "Hello world, what is 2 + 3? The answer is 5.",
    "你好，世界！请介绍一下北京的天气。",
    "def f(x):\n    if x > 0:\n        return x\n\treturn -x\n",
    "The quick brown fox jumps over the lazy dog 1234567890.",
    "[Round 0]\n问：今天几号？\n答：二〇二三年三月十四日。",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
]
CASES = [
    *TEXTS, "", "\n", " ", "  ", "\n\nx", " x", " " * 81 + "x", " " * 200 + "\t", "a b  c   d    e", "x ", "x\n",
    "<n>", "a<|blank_3|>b", "１２３ＡＢＣ", "🙂 naïve café ﬁ", "中文 and English 混排 3.14",
    "\t\tif a:\n\t\t\tb()", "\u3000全角",
]  # fmt: skip
CONTROL = ["[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>", "<ENC>", "<dBLOCK>"]
BLANKS = {" " * length: f"<|blank_{length}|>" for length in range(80, 1, -1)}


def as_symbols(text: str) -> str:
    text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
    for run, symbol in BLANKS.items():
        text = text.replace(run, symbol)
    return text


def train(name: str, texts: list[str], **options: object) -> sentencepiece.SentencePieceProcessor:
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 30), model_writer=made, byte_fallback=True, hard_vocab_limit=False,
        character_coverage=1.0, minloglevel=2, **options,
    )  # fmt: skip
    (HERE / name).write_bytes(made.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())


def main() -> None:
    golden = {}
    for kind, size in (("unigram", 440), ("bpe", 660)):
        model = train(
            f"ice_{kind}.model", [as_symbols(text) for text in TEXTS], model_type=kind, vocab_size=size, pad_id=3,
            normalization_rule_name="identity", remove_extra_whitespaces=False,
            user_defined_symbols=["<n>", "<|tab|>", *reversed(BLANKS.values()), *CONTROL],
        )  # fmt: skip
        golden[f"ice_{kind}"] = [
            [text, [IMAGES + number for number in model.encode(as_symbols(text))]] for text in CASES
        ]
    model = train(
        "chatglm3.model", [text for whole in TEXTS for text in whole.split("\n")], model_type="bpe", vocab_size=560,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    golden["chatglm3"] = [[text, model.encode(text)] for text in CASES]
    (HERE / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=None) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
