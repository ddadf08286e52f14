"""Objectives: chosen by name, refused with what to type; SFT never trains on answers that are labelled bad."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from camelid_core.errors import ConfigError
from camelid_core.plugins import load_host
from camelid_core.registry import Registry
from camelid_core.testing import tiny_tokenizer, write_jsonl
from camelid_core.tokenization.encoder import Encoder
from camelid_train import sections
from camelid_train.config import DataSection, Recipe
from camelid_train.data import prepare
from camelid_train.objectives.rewards import rewards
from camelid_train.objectives.sft import SFT
from camelid_train.sections import SftObjective


@pytest.fixture
def alone(monkeypatch):
    """No other objective is installed."""
    registry = Registry("objective")
    registry.add(SFT, "camelid-train")
    host = SimpleNamespace(
        registry=lambda hook: registry if hook == "camelid_objectives" else load_host().registry(hook)
    )
    monkeypatch.setattr(sections, "load_host", lambda: host)


def test_sft_is_the_default():
    assert Recipe().objective == SftObjective()
    assert Recipe.forms("objective")[0] is SftObjective


@pytest.mark.parametrize("name", ["dpo", "kto", "orpo", "grpo"])
def test_an_objective_that_is_not_installed_says_what_to_install(alone, name):
    sentence = r"objective\.type: needs a plugin that is not installed; type: pip install camelid-trl \(given: '"
    with pytest.raises(ConfigError, match=sentence + name):
        Recipe().with_overrides([f"objective.type={name}"])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("objective.type=sfd", "objective 'sfd' is not known. Did you mean 'sft'"),
        ("objective.beta=1", "unknown key for 'sft'. Known: type"),
        ("objective=7", "a section with a type is needed"),
    ],
)
def test_what_is_unknown_is_refused(alone, override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Recipe().with_overrides([override])


def test_answers_that_were_called_bad_are_not_learnt_and_that_is_said(home, tmp_path):
    labels = [True, False, None, False]
    rows = [{"prompt": f"q{n}", "completion": "a" * (n + 1), "label": label} for n, label in enumerate(labels)]
    rows.append({"prompt": "q4", "chosen": "better", "rejected": "worse"})
    section = DataSection(sources=[str(write_jsonl(tmp_path / "x.jsonl", rows))], eval_rows=0)
    tokenizer = tiny_tokenizer()
    made = prepare(section, Encoder(tokenizer, load_host().templates["chatml"]), load_host())
    learnt = [tokenizer.decode([token for token in row.labels if token >= 0]) for row in made.train]
    assert learnt == [f"{answer}<|im_end|>" for answer in ("a", "aaa", "better")]
    assert made.notes == ['2 rows are marked as bad answers and were left out; objective.type="kto" learns from them.']
    assert made.origin(1).answer == "aaa"


@pytest.mark.parametrize(
    ("answer", "reward"), [("3 + 4 = 7. The answer is 7.", 1.0), ("答案是7。", 1.0), ("It is 8.", 0.0), ("No.", 0.0)]
)
def test_the_exact_answer_is_rewarded(answer, reward):
    assert rewards()["exact-answer"].score(answer, "The answer is 7.") == reward
