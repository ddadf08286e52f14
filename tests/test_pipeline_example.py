"""The pipeline of `examples/pipelines`, whole, on a tiny model: every step uses what the one before it made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.testing import tiny_model

EXAMPLE = Path(__file__).parents[1] / "examples" / "pipelines" / "sums.toml"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_recipe_becomes_a_proved_file(tmp_path):
    model = tiny_model(tmp_path / "model")
    small = ["train.model.dtype=float32", "train.train.max_steps=2", "train.data.eval_rows=4", "train.data.rows=64"]
    # an untrained model's answers are near ties, which no limit of KL divergence is meant for
    limits = "{kl_mean=1.0, top_equal=0.0, perplexity_ratio=9.0}"
    loose = [f"prove.limits={limits}", "prove.rows=4", "prove.sample_tokens=4"]
    command = [sys.executable, "-m", "camelid_core.cli", "pipeline", EXAMPLE, f"train.model.name={model}", *small]
    command += [*loose, "evaluate.rows=2", "evaluate.sampling.max_new_tokens=4", "--json"]
    environment = os.environ | {"CAMELID_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["step"]: row for row in json.loads(done.stdout)}
    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(
        ("train", "merge", "q8", "prove", "evaluate"), "succeeded"
    )
    assert Path(rows["q8"]["outcome"]).name == "sums-q8"
    assert verify_directory(Path(rows["q8"]["outcome"])).manifest.metrics["proof"]["format"] == "q8_0"
