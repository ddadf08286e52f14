"""The collection in a training run: composed by name, counted by source, never more permissive than its parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.testing import tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture
def mirror(tmp_path) -> Path:
    """Some rows of alpaca and of two chain-of-thought sets, laid out as the Hub repository is, where the run is."""
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(60)]
    (tmp_path / "alpaca").mkdir()
    (tmp_path / "alpaca" / "alpaca_data_cleaned.json").write_text(json.dumps(rows), encoding="utf-8")
    origin = tmp_path / "Chain-of-Thought" / "origin_cot_data"
    origin.mkdir(parents=True)
    for name in ("gsm8k", "strategyqa"):
        lines = [f"What of {name} {n}?\\nThink.\t{n}\tIt goes so: {n}.\n" for n in range(40)]
        (origin / f"{name}_train.tsv").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_a_mixture_is_trained_on_and_its_terms_are_kept(mirror, tmp_path):
    model = tiny_model(tmp_path / "model", "llama")
    environment = {
        **os.environ,
        "CAMELID_HOME": str(tmp_path / "home"),
        "CAMELID_DATA_MIRROR": str(mirror),
        "HF_HUB_OFFLINE": "1",
    }
    sources = '["alpaca+cot-gsm8k:0.5", "./data/strategyqa_train.tsv"]'
    overrides = [f"model.name={model}", f"data.sources={sources}", "data.eval_rows=8", "train.max_steps=2"]
    camelid = str(Path(sys.executable).parent / "camelid")
    done = subprocess.run(
        [camelid, "train", *overrides, "--json"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    manifest = verify_directory(Path(json.loads(done.stdout.splitlines()[-1])["artefact"])).manifest
    rows = {use.id: use.rows for use in manifest.datasets}
    assert 50 <= rows["alpaca"] <= 60
    assert 15 <= rows["cot-gsm8k"] <= 20
    assert sum(rows.values()) + 8 == 60 + 20 + 40
    assert set(manifest.licences.data) == {"cc-by-nc-4.0", "mit"}
    assert manifest.licences.effective == "cc-by-nc-4.0 AND mit AND unknown"  # the model states none
    assert manifest.licences.non_commercial is True
    assert manifest.licences.generator == ["openai-terms-of-use"]  # of alpaca, which text-davinci-003 wrote
    assert manifest.plugins["camelid-alpaca-cot"]
