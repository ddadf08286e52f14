"""The demo, whole, with the real 135M model: it learns, merges to the same logits, answers, predicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.model, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parent.parent
KEYS = {
    "base_loss",
    "tuned_loss",
    "base_loss_estimate",
    "tuned_loss_estimate",
    "base_accuracy",
    "tuned_accuracy",
    "accuracy_difference",
    "trained_tokens",
    "train_seconds",
    "tokens_per_second",
    "merged",
    "predictions",
    "adapter",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    run_demo(home)
    return home


@pytest.fixture(scope="module")
def report(home) -> dict:
    return json.loads((home / "demo" / "report.json").read_text())


def run_demo(home: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/quickstart/demo.py")],
        env={**os.environ, "CAMELID_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def camelid(home: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "camelid_core.cli", *arguments]
    return subprocess.run(
        command, env={**os.environ, "CAMELID_HOME": str(home)}, capture_output=True, text=True, check=True, **options
    )


def test_it_learns(report):
    assert set(report) == KEYS
    assert report["tuned_loss"] <= 0.2 * report["base_loss"]
    assert report["accuracy_difference"]["low"] > 0.2
    assert report["tuned_accuracy"]["mean"] >= report["base_accuracy"]["mean"] + 0.4


def test_the_pulled_model_reads_numbers_digit_by_digit_as_its_makers_do(home, report):
    """huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, tokenizer.json; transformers reads GGUF files without it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(home / "models" / "smollm2-135m" / "tokenizer.json"))
    assert tokenizer.encode("12 plus 3045", add_special_tokens=False).tokens == [*"12", "Ġplus", "Ġ", *"3045"]


def test_it_predicts_every_row_in_order(home, report):
    rows = [json.loads(line) for line in Path(report["predictions"]).read_text().splitlines()]
    questions = [json.loads(line) for line in (home / "demo" / "questions.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    assert [{key: row[key] for key in question} for row, question in zip(rows, questions, strict=True)] == questions
    assert all(row["generate"] for row in rows)


def test_a_second_run_reuses_what_is_there(home, report):
    jobs = json.loads(camelid(home, "jobs", "list", "--all", "--json").stdout)
    assert "Already there" in run_demo(home)
    assert json.loads(camelid(home, "jobs", "list", "--all", "--json").stdout) == jobs
    assert json.loads((home / "demo" / "report.json").read_text()) == report


def test_plain_libraries_load_what_it_made(home, report):
    """peft loads the adapter, transformers the merged model, and in float32 their logits agree within 1e-3."""
    import torch
    from camelid_core.plugins import load_host
    from camelid_core.template_contract import REFERENCE_CONVERSATION
    from camelid_core.tokenization.encoder import Encoder
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged_path = home / "merged-fp32"
    camelid(home, "merge", report["adapter"], "--out", str(merged_path), "--dtype", "float32")
    tokenizer = AutoTokenizer.from_pretrained(merged_path)
    ids = torch.tensor([Encoder(tokenizer, load_host().templates["chatml"]).prompt_ids(REFERENCE_CONVERSATION)])
    base = AutoModelForCausalLM.from_pretrained(home / "models" / "smollm2-135m", dtype=torch.float32)
    with torch.inference_mode():
        merged = AutoModelForCausalLM.from_pretrained(merged_path, dtype=torch.float32)(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(base, report["adapter"])(input_ids=ids).logits
    assert torch.allclose(merged, adapted, atol=1e-3, rtol=0)


def test_the_merged_model_answers_in_a_chat(home, report):
    """Two turns through a pipe: the model was taught to end with 'The answer is N.'"""
    script = "Max has 20 coins and buys 3 pens at 4 coins each. How many coins are left?\n/clear\n/stop\n"
    assert "The answer is" in camelid(home, "chat", report["merged"], input=script).stdout
