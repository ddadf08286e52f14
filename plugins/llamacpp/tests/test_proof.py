"""Proofs of GGUF files: a file of the same weights is as good as its source, and each format is known by its file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from camelid_core.artefacts import BaseModelEntry, Manifest, verify_directory, write_manifest
from camelid_core.testing import tiny_model, write_jsonl
from camelid_serve.evaluations import score_task
from camelid_serve.evaluations.proof import proof_task as task
from camelid_serve.evaluations.proof.proof_config import ProofConfig
from camelid_serve.evaluations.score_config import ScoreConfig

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Attempt:
    """The first attempt at a job, which nobody stops."""

    earlier_attempts: tuple[Path, ...] = ()

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory, self.output = directory, directory / "output"

    def emit(self, kind: str, **values: Any) -> None: ...

    def stop_requested(self) -> Any:
        return ""


def prove(source: Path, export: Path, directory: Path, **more: Any) -> dict[str, Any]:
    values = {"source": str(source), "export": str(export), "rows": 8, "cutoff": 160, "sample_tokens": 8, **more}
    attempt = Attempt(directory)
    summary = task.run(ProofConfig(**values), attempt)
    return {**summary, "results": json.loads((attempt.output / "proof.json").read_text(encoding="utf-8"))}


@pytest.mark.parametrize(("kind", "form"), [("f32", "float32"), ("f16", "float16"), ("q8_0", "q8_0")])
def test_a_file_of_the_same_weights_passes(
    base: Path, file: Callable[[str], Path], tmp_path: Path, kind: str, form: str
) -> None:
    found = prove(base, file(kind), tmp_path / "job", dtype="float32")
    assert found["passed"] is True, found["sentence"]
    assert found["results"]["export"]["format"] == form
    assert found["engine"] == "llamacpp"
    assert found["kl_of"] == "whole distributions"
    assert found["size"] == file(kind).stat().st_size
    assert found["template_equal"] is True
    assert 0 <= found["kl_mean"] < 1e-4
    assert found["results"]["export"]["generated_tokens"] > 0


def test_a_file_of_other_weights_fails(file: Callable[[str], Path], tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", seed=5)
    (other / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    found = prove(other, file("f32"), tmp_path / "job")
    assert found["passed"] is False
    assert "kl_mean" in found["failed"]


def test_a_file_and_the_model_it_was_made_of_are_scored_alike(
    base: Path, file: Callable[[str], Path], tmp_path: Path
) -> None:
    """One table over both engines: likelihoods are the same to rounding, and the paired difference says so."""
    rows = [{"instruction": f"Which of {n}?\nOptions:\n(A) red\n(B) blue", "output": "It is (B)."} for n in range(6)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    attempt = Attempt(tmp_path / "job")
    models, tasks = [str(base), str(file("f32"))], [f"choice-likelihood={data}", f"choice-text={data}"]
    score_task.run(ScoreConfig(models=models, tasks=tasks, dtype="float32", max_new_tokens=6, batch_size=4), attempt)
    results = json.loads((attempt.output / "results.json").read_text(encoding="utf-8"))
    probability = results["columns"][0]["measures"][2]["differences"]
    (gap,) = probability.values()
    assert gap["n"] == 6
    assert abs(gap["mean"]) < 1e-3
    texts = [each["mean"] for each in results["columns"][1]["measures"][0]["estimates"].values()]
    assert texts[0] == texts[1]


def test_the_file_of_an_artefact_is_told_its_proof(base: Path, file: Callable[[str], Path], tmp_path: Path) -> None:
    """Whether the directory is named or the file in it."""
    place = tmp_path / "gguf"
    place.mkdir()
    shutil.copy(file("q8_0"), place / "model.gguf")
    write_manifest(
        place, Manifest(kind="gguf", base=BaseModelEntry(id="tiny"), parameters={"export": {"type": "gguf"}})
    )
    for number, named in enumerate((place, place / "model.gguf")):
        found = prove(base, named, tmp_path / f"job-{number}", record=True)
        assert found["recorded"] == str(place)
    assert verify_directory(place).manifest.metrics["proof"]["passed"] is True
