"""`camelid chat | predict | eval` as a person or a script runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from camelid_core.errors import UnknownName, UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.readers import read
from camelid_core.testing import tiny_model, write_jsonl
from camelid_serve.commands.evaluate import app
from typer.testing import CliRunner

pytestmark = pytest.mark.slow

ROWS = [{"instruction": f"Say {n}.", "n": n} for n in range(4)]


def camelid(*arguments: str, typed: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "camelid_core.cli", *arguments]
    done = subprocess.run(
        command, input=typed, capture_output=True, text=True, errors="surrogateescape", timeout=240, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def test_chat_answers_one_question_on_stdout_alone(base: Path) -> None:
    done = camelid("chat", str(base), "--ask", "Hello?", "--max-new-tokens", "5")
    assert done.stdout.strip()
    assert "tokens/s" not in done.stdout
    assert "(5 tokens" in done.stderr


def test_chat_is_scripted_through_a_pipe(adapter: Path, tmp_path: Path) -> None:
    saved = [tmp_path / name for name in ("said.md", "said.jsonl")]
    typed = (
        "\udcff\nHello?\n/retry\n/preset thebloke\n/preset best\n/exact\nMore?\n/undo\n"
        + "".join(f"/save {path}\n" for path in (*saved, saved[0], "said.doc", "~nobody-of-that-name/x.md"))
        + "/system Be brief.\n/nonsense\n/undo\n/clear\nclear\nAgain?\n/help\nstop\nnever asked\n"
    )
    options = ("--preset", "firefly", "--suffix", "decide", "max_new_tokens=4")
    notes = camelid("chat", str(adapter), "--base", *options, typed=typed).stderr
    assert notes.count("base:") == 4
    assert "not UTF-8 and was left out" in notes
    assert "preset 'best' is not known" in notes
    assert "Hello?\n先思考，再决定" in notes
    assert "1 is left" in notes
    assert "there already; name another" in notes
    assert "'said.doc': /save takes a file that ends in .md or .jsonl" in notes
    assert "file '~nobody-of-that-name/x.md' cannot be used" in notes
    assert "no command '/nonsense'" in notes
    assert "nothing to undo" in notes
    assert notes.count("conversation is cleared") == 3
    assert "never asked" not in notes
    assert "## Assistant" in saved[0].read_text(encoding="utf-8")
    records = list(read(saved[1]))
    assert [record.messages[0].content for record in records] == ["Hello?\n先思考，再决定"] * 2
    assert len({record.id for record in records}) == len({record.tags for record in records}) == 2


def test_chat_says_what_is_wrong_before_it_loads(base: Path) -> None:
    assert "temperature" in camelid("chat", str(base), "temperatur=1", "--ask", "x", code=2).stderr
    assert "is not known" in camelid("chat", "no-such-model", "--ask", "x", code=2).stderr
    assert "Known: alpaca-cot, firefly" in camelid("chat", str(base), "--preset", "warm", code=2).stderr
    assert "--ask takes a message" in camelid("chat", str(base), "--ask", " ", code=2).stderr


def test_predict_runs_as_a_job(base: Path, home: Path, tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "deep" / "out.jsonl"
    options = (
        "--out",
        str(out),
        "--preset",
        "firefly",
        "--max-new-tokens",
        "4",
        "--name",
        "mine",
        "--json",
        "batch_size=2",
    )
    done = camelid("predict", str(base), str(source), *options)
    answered = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [{key: row[key] for key in ("instruction", "n")} for row in answered] == ROWS
    assert all("generate" in row for row in answered)
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["failed"], summary["output"]) == (4, 0, str(out))
    assert Path(summary["artefact"]) == home / "artefacts" / "mine"


def test_predict_maps_scores_and_asks_several_models(base: Path, adapter: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("Frage,right\nSay 1.,1\nSay 2.,2\n", encoding="utf-8")
    options = ("--map", "instruction=Frage", "--reference", "right", "--also", str(adapter), "--max-new-tokens", "4")
    done = camelid("predict", str(base), str(source), *options, "--out", str(out), "--json")
    answered = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [set(row["scores"]) for row in answered] == [{"tiny", "adapter"}] * 2
    assert json.loads(done.stdout)["models"]["adapter"]["scores"]["exact"]["n"] == 2


def test_predict_says_what_is_wrong_before_it_starts(base: Path, home: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    twice = camelid("predict", str(base), str(source), "--also", str(base), code=2).stderr
    assert "named twice" in twice
    assert "no file" in camelid("predict", str(base), "nowhere.jsonl", code=2).stderr
    assert "directory" in camelid("predict", str(base), str(source), "--out", str(tmp_path), code=2).stderr
    inside = str(source / "out.jsonl")
    assert "cannot be written" in camelid("predict", str(base), str(source), "--out", inside, code=2).stderr
    for wrong in (("no-such-model",), (str(base), "engine=nono")):
        assert "is not known" in camelid("predict", wrong[0], str(source), *wrong[1:], code=2).stderr
    assert open_store().list() == []
    assert "max_new_tokens" in camelid("predict", str(base), str(source), "--max-new-tokens", "0", code=2).stderr


def test_eval_scores(adapter: Path) -> None:
    done = camelid("eval", str(adapter), "--rows", "3", "--base", "--max-new-tokens", "4", "--json")
    summary = json.loads(done.stdout)
    assert summary["rows"] == 3
    assert {"accuracy", "base_accuracy", "difference", "artefact"} <= set(summary)


def test_eval_scores_models_on_tasks(base: Path, adapter: Path) -> None:
    command = ("eval", str(base), str(adapter), "--task", "exact-answer", "--rows", "6", "--max-new-tokens", "4")
    shown = camelid(*command, "--baseline", str(adapter), "dtype=float32", "--name", "scores").stdout.splitlines()
    assert shown[0].split() == ["model", "exact-answer"]
    assert [line[:20].strip() for line in shown[1:4]] == ["tiny", "minus the baseline", "adapter (baseline)"]
    assert "± " in shown[1]
    assert "(n 6" in shown[1]
    assert "points (n 6" in shown[2]
    assert shown[-1].endswith("artefacts/scores")
    summary = open_store().list()[0].summary
    assert summary["exact-answer"]["tiny"]["n"] == summary["exact-answer minus adapter"]["tiny"]["n"] == 6


def test_eval_says_what_there_is_and_what_is_missing(base: Path) -> None:
    def ran(*arguments: str) -> Any:
        return CliRunner().invoke(app, arguments)

    assert isinstance(ran(str(base), "--task", "exact-anwser").exception, UnknownName)
    assert "--task choice-text=rows.jsonl" in str(ran(str(base), "--task=choice-text").exception)
    listed = {row["name"]: row for row in json.loads(ran("list", "--json").stdout)}
    assert {"exact-answer", "choice-likelihood", "chinese-share", "hashtag-leak", "tulu", "alpaca-cot"} <= set(listed)
    assert ran("rows", "10", "--discordant", "30").stdout == "228 items\n"
    refused = ran("rows", "10", "--discordant", "5").exception
    assert isinstance(refused, UsageError)
    assert "--discordant is 5" in str(refused)


def test_eval_measures_contexts(base: Path) -> None:
    options = ("--lengths", "64,640", "--rope", "linear:2", "--windows", "2", "--name", "curves")
    lines = camelid("eval", "context", str(base), *options).stdout.splitlines()
    assert lines[0].split() == ["perplexity", "64", "640"]
    assert lines[1].startswith("tiny ")
    assert any(line.startswith("tiny linear:2") for line in lines)
    assert lines[-1].endswith("artefacts/curves/plot.svg")


def test_eval_hides_keys(base: Path) -> None:
    options = ("--lengths", "300,900", "--depths", "0.5", "--trials", "1")
    summary = json.loads(camelid("eval", "passkey", str(base), *options, "--json").stdout)
    assert summary["results"]["variants"][0]["cells"][0] == {"length": 300, "depth": 0.5, "found": 0, "of": 1}


def test_prove_ends_with_its_verdict(base: Path, tmp_path: Path) -> None:
    """0 for a copy; 1, a sentence and the whole result for another model."""
    options = ("--rows", "2", "cutoff=96", "sample_tokens=4", "--dtype", "float32")
    passed = camelid("prove", str(base), str(base), *options, "--json")
    summary = json.loads(passed.stdout)
    assert (summary["passed"], summary["kl_mean"]) == (True, 0)
    assert (Path(summary["artefact"]) / "proof.md").read_text(encoding="utf-8").startswith("## Proof")
    other = tiny_model(tmp_path / "other", seed=9)
    failed = camelid("prove", str(base), str(other), *options, code=1).stdout
    assert "Failed at" in failed
    assert "mean KL divergence per token" in failed
    assert "kl_mean" in camelid("prove", str(base), str(base), "--limit", "kl=1", code=2).stderr
    assert "NAME=VALUE" in camelid("prove", str(base), str(base), "--limit", "kl_mean", code=2).stderr


def test_ctrl_c_ends_the_answer_and_not_the_program(endless: Path) -> None:
    """The first answer ends by this alone, the second at the 200 tokens of its preset."""
    command = [sys.executable, "-m", "camelid_core.cli", "chat", str(endless), "max_new_tokens=60000"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, start_new_session=True, preexec_fn=_hear_ctrl_c) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"Hello?\n")
        program.stdin.flush()
        assert program.stdout.read(1)
        program.send_signal(signal.SIGINT)
        _, notes = program.communicate(b"/preset firefly\nAgain?\n/stop\n", timeout=120)
    assert program.returncode == 0, notes
    assert notes.count(b"(stopped)") == 1
    assert notes.count(b"tokens/s") == notes.count(b"(200 tokens") == 1


def _hear_ctrl_c() -> None:
    """What a shell runs in the background is deaf to it, and all that is started from there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
