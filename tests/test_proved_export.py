"""From an export to its proof: what train writes, serve compares and records, and the artefact stays whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.config import validate
from camelid_core.testing import isolated_home, tiny_model
from camelid_serve.evaluations.proof import proof_task
from camelid_serve.evaluations.proof.proof_config import ProofConfig
from camelid_train.export import task as export_task
from camelid_train.export.config import ExportConfig

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")


class Attempt:
    """The first attempt at a job, which nobody stops."""

    earlier_attempts: tuple[Path, ...] = ()

    def __init__(self, directory: Path, output: Path) -> None:
        directory.mkdir(parents=True)
        self.directory, self.output = directory, output

    def emit(self, kind: str, **values: Any) -> None: ...

    def stop_requested(self) -> Any:
        return ""


def test_an_export_is_proved_and_told_so(tmp_path, monkeypatch):
    home = isolated_home(tmp_path, monkeypatch)
    source, place = tiny_model(tmp_path / "source"), home / "artefacts" / "small"
    place.parent.mkdir(parents=True)
    export = validate(ExportConfig, {"source": str(source), "to": {"type": "bitsandbytes"}}, "the test")
    export_task.export(export, Attempt(tmp_path / "export", place))
    before = verify_directory(place).manifest
    config = ProofConfig(source=str(source), export=str(place), rows=6, cutoff=160, sample_tokens=6, dtype="float32")
    summary = proof_task.run(config, Attempt(tmp_path / "prove", tmp_path / "proof"))
    told = verify_directory(place).manifest
    assert summary["recorded"] == str(place)
    assert told.metrics["proof"]["format"] == "nf4"
    assert told.metrics["proof"]["template_equal"] is True
    assert 0 < told.metrics["proof"]["kl_mean"] < 0.4
    assert before.parameters["export"]["estimated_size"] > 0
    card = (place / "README.md").read_text(encoding="utf-8")
    assert "mean KL divergence per token" in card
    assert "no estimate" not in card
    assert (told.created, told.parameters) == (before.created, before.parameters)
