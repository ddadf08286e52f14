"""Scoring by exact answers, tuned and base on one resident model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import camelid_serve.evaluations.answer_accuracy as module
import pytest
from camelid_core.artefacts import BaseModelEntry, Manifest, verify_directory, write_manifest
from camelid_core.errors import DataError, UnknownName
from camelid_core.integrity import fingerprint
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted
from camelid_core.template_contract import make_contract
from camelid_core.testing import tiny_model, write_jsonl
from camelid_serve.config import EngineConfig, EvaluateConfig
from camelid_serve.engine import Sampling
from camelid_serve.loaded_models import LoadedModel, load_model

from .context import Attempt

SHORT = Sampling(max_new_tokens=6)


def test_tuned_and_base_are_scored(adapter: Path, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "job")
    summary = module.run(EvaluateConfig(model=str(adapter), rows=5, base=True, sampling=SHORT), attempt)
    lines = [json.loads(line) for line in (attempt.output / module.ANSWERS).read_text(encoding="utf-8").splitlines()]
    assert len(lines) == summary["rows"] == 5
    assert {"tuned", "base", "expected", "question"} <= set(lines[0])
    right = [[line[side]["correct"] for line in lines] for side in ("tuned", "base")]
    assert summary["accuracy"]["mean"] == sum(right[0]) / 5
    assert summary["difference"]["mean"] == pytest.approx((sum(right[0]) - sum(right[1])) / 5)
    assert {summary[name]["n"] for name in ("accuracy", "base_accuracy", "difference")} == {5}
    assert any(line["tuned"]["answer"] != line["base"]["answer"] for line in lines)
    assert verify_directory(attempt.output).manifest.kind == "evaluation"


def test_right_answers_count(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"instruction": f"{n}?", "output": f"The answer is {n}."} for n in range(4)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    monkeypatch.setattr(module, "same_answer", lambda given, expected: expected.endswith(("1.", "2.", "3.")))
    config = EvaluateConfig(model=str(base), data=str(source), sampling=SHORT)
    assert module.run(config, Attempt(tmp_path / "job"))["accuracy"]["mean"] == 0.75


def test_asked_to_finish_it_keeps_what_it_scored_though_nothing_of_the_base(adapter: Path, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "job", 1, "finish", stop_after=3)
    config = EvaluateConfig(model=str(adapter), rows=8, batch_size=2, base=True, sampling=SHORT)
    summary = module.run(config, attempt)
    lines = [json.loads(line) for line in (attempt.output / module.ANSWERS).read_text(encoding="utf-8").splitlines()]
    assert 3 <= summary["rows"] == len(lines) < 8
    assert not any("base" in line for line in lines)
    assert "base_accuracy" not in summary
    with pytest.raises(DataError, match="before a row"):
        module.run(config, Attempt(tmp_path / "none", 1, "finish"))


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "model")
    config = EvaluateConfig(model=str(base), rows=6, batch_size=2, sampling=SHORT)
    with pytest.raises(Interrupted):
        module.run(config, Attempt(tmp_path / "job", 1, "save", stop_after=2))
    second = Attempt(tmp_path / "job", 2)
    assert module.run(config, second)["rows"] == 6
    asked = (second.directory / "tuned.work.jsonl").read_text(encoding="utf-8").count('"row"')
    assert asked <= 4
    tiny_model(base, seed=9)
    third = Attempt(tmp_path / "job", 3)
    module.run(config, third)
    asked = (third.directory / "tuned.work.jsonl").read_text(encoding="utf-8").count('"row"')
    assert asked == 6, "what other weights said is not taken up"


def test_what_cannot_be_scored_is_said(base: Path, tmp_path: Path) -> None:
    unanswered = write_jsonl(tmp_path / "rows.jsonl", [{"instruction": "?", "output": ""}])
    with pytest.raises(DataError, match="no answer"):
        module.run(EvaluateConfig(model=str(base), data=str(unanswered)), Attempt(tmp_path / "a"))
    with pytest.raises(UnknownName, match="cot-arithmetic-en"):
        module.run(EvaluateConfig(model=str(base), data="cot-arithmetik-en"), Attempt(tmp_path / "b"))


def test_each_side_of_a_comparison_is_asked_in_its_own_template(
    adapter: Path, base: Path, tiny: LoadedModel, tmp_path: Path
) -> None:
    """Unless one is chosen for both; and which they are is said."""
    trained = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    contract = make_contract(load_host().templates["vicuna"], tiny.encoder.tokenizer)
    origin = BaseModelEntry(id="tiny", path=str(base), fingerprint=fingerprint(base))
    write_manifest(trained, Manifest(kind="adapter", base=origin, template=contract))
    loaded, forced = (
        load_model(str(trained), load_host(), EngineConfig(template=template)) for template in ("", "vicuna")
    )
    for each in (loaded, forced):
        each.close()
    assert [each.side(tuned).template.name for each in (loaded, forced) for tuned in (True, False)] == [
        "vicuna",
        "alpaca",
        "vicuna",
        "vicuna",
    ]
    assert "'alpaca'" in loaded.templates_differ
    assert forced.templates_differ == ""
    attempt = Attempt(tmp_path / "job")
    module.run(EvaluateConfig(model=str(trained), rows=1, base=True, sampling=SHORT), attempt)
    assert any(loaded.templates_differ == event.get("text") for event in attempt.events)
