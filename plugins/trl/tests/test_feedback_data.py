"""What people thought of answers in the chat is data that DPO and KTO train on."""

from __future__ import annotations

from camelid_core.datasets.feedback import append_feedback, retraction
from camelid_core.paths import data_dir
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_tokenizer
from camelid_core.tokenization.encoder import Encoder
from camelid_train.config import DataSection
from camelid_trl.preference_data import LABELLED, PAIRS, prepare


def test_journals_are_prepared_for_dpo_and_kto(home):
    prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("Hi.", "No.", "Go.")]
    thumbs = [{"id": str(n), "prompt": prompt, "completion": each, "label": n == 0} for n, each in enumerate(answers)]
    append_feedback(data_dir() / "chat-ratings.jsonl", [*thumbs, retraction("1")])
    append_feedback(
        data_dir() / "chat-preferences.jsonl",
        [{"id": "p", "prompt": prompt, "chosen": answers[0], "rejected": answers[1]}],
    )
    encoder = Encoder(tiny_tokenizer(), load_host().templates["chatml"])

    def made(kind, name):
        return prepare(kind, DataSection(sources=[name], eval_rows=0), encoder, load_host()).train

    assert [row.good for row in made(LABELLED, "chat-ratings")] == [True, False]
    (pair,) = made(PAIRS, "chat-preferences")
    assert "Hello?" in encoder.tokenizer.decode(pair.prompt_ids)
    assert "Hi." in encoder.tokenizer.decode(pair.answer_ids)
    assert "No." in encoder.tokenizer.decode(pair.rejected_ids)
    assert [row.good for row in made(LABELLED, "chat-preferences")] == [True, False]
