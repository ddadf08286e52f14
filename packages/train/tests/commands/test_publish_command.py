"""`camelid publish`: what is shown first, what is asked, and what a person can type next."""

from __future__ import annotations

import json
import shutil

import pytest
from camelid_core.artefacts import BaseModelEntry, Licences, Manifest, write_manifest
from camelid_core.cli import app
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_train.publishing.publish_config import PublishConfig
from camelid_train.publishing.publish_task import publish
from typer.testing import CliRunner


@pytest.fixture
def model(base, home, tmp_path):
    directory = shutil.copytree(base(), home / "artefacts" / "merged")
    entry = BaseModelEntry(id="someone/tiny-base", path=str(base()), model_type="llama")
    write_manifest(directory, Manifest(kind="model", base=entry, licences=Licences.of("cc-by-nc-4.0")))
    return directory


def run(*arguments, code=0, **more):
    done = CliRunner().invoke(app, ["publish", *map(str, arguments)], **more)
    assert done.exit_code == code, done.output
    return done


def test_a_dry_run_shows_every_file_and_publishes_nothing(model, tmp_path):
    hub = tmp_path / "hub"
    text = run("merged", "--to", hub, "--name", "me/run", "--dry-run", "--card").output
    assert "model.safetensors" in text
    assert "cc-by-nc-4.0 (no commercial use)" in text
    assert "# Run (fp32)" in text
    values = json.loads(run("merged", "--to", hub, "--name", "me/run", "--dry-run", "--json").stdout)
    (branch,) = values["branches"]
    assert values["bytes"] == sum(each["bytes"] for each in branch["files"])
    assert {len(each["sha256"]) for each in branch["files"]} == {64}
    assert not hub.exists()


def test_licences_come_first_and_the_lines_it_ends_with_work(model, tmp_path):
    hub = tmp_path / "hub"
    done = run("merged", "--to", hub, "--name", "me/run")
    assert done.stderr.index("cc-by-nc-4.0 (no commercial use)") < done.stderr.index("bytes · me/run:main")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("camelid chat "))
    assert resolve_model(line.removeprefix("camelid chat "), load_host()).manifest.kind == "model"
    first = json.loads(run("merged", "--to", hub, "--name", "me/run", "--json").stdout)
    assert json.loads(run("merged", "--to", f"hub:{hub}", "--name", "me/run", "--json").stdout) == first


def test_a_job_publishes_the_same(model, tmp_path, attempt):
    hub, job = tmp_path / "hub", attempt()
    command = json.loads(run("merged", "--to", hub, "--name", "me/run", "--json").stdout)
    summary = publish(PublishConfig(artefacts=["merged"], to=str(hub), name="me/run"), job)
    assert summary["branches"] == command["branches"]
    assert any("cc-by-nc-4.0" in event["text"] for event in job.events("log"))
    last = job.events("progress")[-1]
    assert last["done"] == last["total"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["merged"], "--to hf"),
        (["merged", "--to", "hub:"], "--to hf"),
        (["merged", "--to", "hf"], "--name ORG/NAME"),
        (["merged", "--to", "hub", "--name", "me"], "write ORG/NAME"),
        (["mergd", "--to", "hub", "--name", "me/x"], "Did you mean 'merged'"),
        (["merged", "--to", "hub", "--name", "me/x", "--header", "gone.md"], "'gone.md' cannot be read"),
    ],
)
def test_what_does_not_fit_is_a_sentence(model, arguments, words):
    done = CliRunner().invoke(app, ["publish", *arguments])
    assert done.exit_code != 0
    assert words in str(done.exception)
