"""A real training on another machine, through the two real programs, is the training that it would have been here."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.events import read_events
from camelid_core.integrity import sha256
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import ENDED, JobState
from camelid_core.jobs.run_directories import attempts
from camelid_core.jobs.worker import Worker
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.subprocesses import module_command
from camelid_core.testing import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture
def program(tmp_path):
    """Starts `camelid` in a home, with its output in a file."""
    started = []

    def start(home, *arguments, **environment):
        log = tmp_path / f"{home.name}-{arguments[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                module_command("camelid_core.cli", *arguments), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, env={**os.environ, "CAMELID_HOME": str(home), **environment},
            )  # fmt: skip
        started.append(process)
        return process, log

    yield start
    for process in started:
        process.terminate()
        process.wait()


def test_weights_and_provenance_are_those_of_a_training_here(tmp_path, monkeypatch, program, until):
    server, other = tmp_path / "server", tmp_path / "other"
    monkeypatch.setenv("CAMELID_HOME", str(server))
    base = tiny_model(tmp_path / "models" / "tiny")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"instruction": f"Add {n} and 1.", "output": str(n + 1)}) + "\n" for n in range(40))
    )
    recipe = {
        "model": {"name": str(base), "dtype": "float32"},
        "data": {"sources": [f"{rows}:0.5"], "template": "alpaca", "eval_rows": 4, "cutoff": 128},
        "train": {"max_steps": 4, "batch_size": 2, "save_steps": 2, "preflight": False},
        "eval": {"samples": 0},
    }
    store = open_store()
    here = store.submit("train", recipe, "here")
    assert Worker(store).run_job(here.id).state == JobState.SUCCEEDED, store.get(here.id).error
    door, log = program(server, "machines", "serve", "--port", "0")
    until(lambda: (server / "machines.json").exists() or door.poll() is not None)
    added = subprocess.run(
        module_command("camelid_core.cli", "machines", "add", "other"), check=True, capture_output=True, text=True
    ).stdout
    token, url = re.findall(r"CAMELID_JOIN_TOKEN=(\S+) camelid worker --join (\S+)", added)[0]
    there = store.submit("train", recipe, "there")
    agent, agent_log = program(other, "worker", "--join", url, CAMELID_JOIN_TOKEN=token)
    until(lambda: store.get(there.id).state in ENDED or agent.poll() is not None)
    done = store.get(there.id)
    assert done.state == JobState.SUCCEEDED, f"{done.error} {agent_log.read_text()} {log.read_text()}"
    first, second = (verify_directory(server / "artefacts" / name) for name in ("here", "there"))
    assert sha256(first.path / "adapter_model.safetensors") == sha256(second.path / "adapter_model.safetensors")
    assert second.manifest.base == first.manifest.base
    assert second.manifest.datasets == first.manifest.datasets
    assert str(other) not in "".join(path.read_text() for path in second.path.glob("*.json"))
    assert resolve_model("there", load_host()).base == base
    attempt = attempts(server, there.id)[0]
    assert sorted(path.name for path in (attempt / "checkpoints").iterdir()) == ["step-00000002", "step-00000004"]
    kinds = [
        [event["kind"] for event in read_events(attempts(server, each.id)[0] / "events.jsonl")[0]]
        for each in (here, there)
    ]
    assert kinds[0].count("checkpoint") == kinds[1].count("checkpoint") == 2
    agent.terminate()
    assert agent.wait(240) == 0
    door.terminate()
    assert door.wait(240) == 0
    assert not (server / "machines.json").exists()
    for text in (log.read_text(), agent_log.read_text()):
        assert token not in text


def test_commands_say_what_to_do_next(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))

    def camelid(*arguments):
        done = subprocess.run(
            module_command("camelid_core.cli", *arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        return done.returncode, done.stdout + done.stderr

    assert "camelid machines serve" in camelid("machines", "add", "box")[1]
    code, said = camelid("machines", "add", "box", "--url", "gpu.example:9000")
    assert code == 0
    assert re.search(r"--join https://gpu\.example:9000/[0-9a-f]{64}", said)
    assert "The door is closed" in said
    listed = json.loads(camelid("machines", "list", "--json")[1])
    assert [(each["name"], each["state"]) for each in listed] == [("box", "new")]
    assert camelid("machines", "revoke", "box")[0] == 0
    assert "would show tokens" in camelid("machines", "serve", "--http", "--host", "0.0.0.0")[1]
    assert "CAMELID_JOIN_TOKEN" in camelid("worker", "--join", "http://127.0.0.1:1")[1]
    assert "belong to --join" in camelid("worker", "--token", "x")[1]
    code, said = camelid("worker", "--join", "http://127.0.0.1:1", "--token", "secret", "--once")
    assert (code, "does not answer" in said, "secret" in said) == (1, True, False)
