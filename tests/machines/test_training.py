"""A real training on another machine, through the two real programs, is the training that it would have been here."""

from __future__ import annotations

import json
import os
import re
import subprocess

import psutil
import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.events import read_events
from camelid_core.integrity import sha256
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import ENDED, JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import attempt_directory, attempts
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


STEPS = 40


def join(program, name, home):
    """Let a machine in and start its agent: the process, its token, and its log."""
    added = subprocess.run(
        module_command("camelid_core.cli", "machines", "add", name), check=True, capture_output=True, text=True
    ).stdout
    token, url = re.findall(r"CAMELID_JOIN_TOKEN=(\S+) camelid worker --join (\S+)", added)[0]
    process, log = program(home, "worker", "--join", url, CAMELID_JOIN_TOKEN=token)
    return process, token, log


def lose_at_first_checkpoint(agent, home, attempt, until):
    """Its machine loses power when its first checkpoint has reached the server, and the training is not over."""
    until(lambda: list(home.glob("joined/*/[0-9]*/runs/*/1/checkpoints/step-*")))
    (there,) = home.glob("joined/*/[0-9]*/runs/*/1")
    identity = ProcessIdentity.read(there)
    psutil.Process(identity.pid).suspend()
    until(lambda: list(attempt.glob("checkpoints/step-*")))
    agent.kill()
    agent.wait()
    identity.kill()


def test_weights_and_provenance_are_those_of_a_training_here_although_a_machine_is_lost(
    tmp_path, monkeypatch, program, until
):
    server = tmp_path / "server"
    monkeypatch.setenv("CAMELID_HOME", str(server))
    base = tiny_model(tmp_path / "models" / "tiny")
    rows = tmp_path / "rows.jsonl"
    lines = [json.dumps({"instruction": f"Add {n} and 1.", "output": str(n + 1)}) for n in range(80)]
    rows.write_text("\n".join(lines))
    recipe = {
        "model": {"name": str(base), "dtype": "float32"},
        "data": {"sources": [f"{rows}:0.5"], "template": "alpaca", "eval_rows": 4, "cutoff": 128},
        "train": {"max_steps": STEPS, "batch_size": 2, "save_steps": 2, "preflight": False},
        "eval": {"samples": 0},
    }
    store = open_store()
    here = store.submit("train", recipe, "here")
    assert Worker(store).run_job(here.id).state == JobState.SUCCEEDED, store.get(here.id).error
    door, log = program(server, "machines", "serve", "--port", "0")
    until(lambda: (server / "machines.json").exists() or door.poll() is not None)
    there = store.submit("train", recipe, "there")
    lost, token, lost_log = join(program, "first", tmp_path / "first")
    lose_at_first_checkpoint(lost, tmp_path / "first", attempt_directory(server, there.id, 1), until)
    with store.database.write() as db:
        db.execute("UPDATE job SET lease = 0 WHERE id = ?", (there.id,))
    agent, other_token, agent_log = join(program, "second", tmp_path / "second")
    until(lambda: store.get(there.id).state in ENDED or agent.poll() is not None)
    done = store.get(there.id)
    assert done.state == JobState.SUCCEEDED, f"{done.error} {agent_log.read_text()} {log.read_text()}"
    resumed = [event["step"] for event in read_events(attempts(server, there.id)[0] / "events.jsonl")[0]
               if event["kind"] == "resume"]  # fmt: skip
    assert done.epoch == 2
    assert 0 < resumed[0] < STEPS
    first, second = (verify_directory(server / "artefacts" / name) for name in ("here", "there"))
    assert sha256(first.path / "adapter_model.safetensors") == sha256(second.path / "adapter_model.safetensors")
    assert second.manifest.base == first.manifest.base
    assert second.manifest.datasets == first.manifest.datasets
    assert str(tmp_path / "second") not in "".join(path.read_text() for path in second.path.glob("*.json"))
    assert resolve_model("there", load_host()).base == base
    kept = sorted(path.name for path in (attempts(server, there.id)[0] / "checkpoints").iterdir())
    assert kept == [f"step-{STEPS - 2:08d}", f"step-{STEPS:08d}"], "as many as the recipe keeps"
    assert not list(attempt_directory(server, there.id, 1).glob("checkpoints/*")), (
        "what was pruned there is pruned here"
    )
    for process in (agent, door):
        process.terminate()
        assert process.wait(240) == 0
    assert not (server / "machines.json").exists()
    for text in (log.read_text(), lost_log.read_text(), agent_log.read_text()):
        assert token not in text
        assert other_token not in text


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
