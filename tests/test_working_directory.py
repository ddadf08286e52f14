"""A downloaded directory is code from nobody: whatever Python files lie in it, no command and no process of one imports
them when it is run from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.presence import live_workers
from camelid_core.testing import shadow_every_module, tiny_model, write_jsonl

pytestmark = pytest.mark.slow

CAMELID = Path(sys.executable).parent / "camelid"
OWN_TEMPLATE = (
    "{% for each in messages %}<|im_start|>{{ each.role }}\n{{ each.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRAIN = (
    "model.name=.", 'data.sources=["rows.jsonl"]', "data.eval_rows=2", "train.max_steps=2", "train.learning_rate=0.02",
    "train.preflight=false", "eval.samples=0",
)  # fmt: skip


@dataclass(frozen=True)
class Downloaded:
    """A model with a chat template of its own, in the middle of traps; the working directory and Camelid's home."""

    path: Path
    sprung: Callable[[], set[str]]

    @property
    def environment(self) -> dict[str, str]:
        ours = {"CAMELID_HOME": str(self.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | ours

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [CAMELID, *arguments], cwd=self.path, env=self.environment, capture_output=True, text=True
        )
        assert self.sprung() == set()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([CAMELID, *arguments], cwd=self.path, env=self.environment, **pipes)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=240)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def there(tmp_path_factory) -> Downloaded:
    path = tiny_model(tmp_path_factory.mktemp("downloaded") / "model")
    (path / "chat_template.jinja").write_text(OWN_TEMPLATE)
    write_jsonl(path / "rows.jsonl", [{"instruction": f"Add {n}.", "output": "Seven."} for n in range(8)])
    return Downloaded(path, shadow_every_module(path))


@pytest.fixture(autouse=True)
def mended(there) -> None:
    """No test is blamed for another's steps."""
    (there.path / "sprung.txt").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def adapter(there) -> str:
    """Trained there, by a worker, after it had been cancelled and taken up again."""
    there.run("train", *TRAIN, "--name", "tuned", "--detach")
    (job,) = [str(job.id) for job in open_store(there.path).list() if job.name == "tuned"]
    there.run("jobs", "cancel", job)
    there.run("jobs", "retry", job)
    assert f"Job {job} succeeded." in there.run("worker", "--once")
    return "tuned"


def test_a_run_and_a_merge(there, adapter):
    assert "merged" in there.run("merge", adapter)


@pytest.mark.parametrize(
    "command",
    [
        ["chat", ".", "--ask", "Hi", "--max-new-tokens", "4"],
        ["predict", ".", "rows.jsonl", "--out", "answers.jsonl", "--limit", "2", "sampling.max_new_tokens=4"],
        ["eval", ".", "--data", "rows.jsonl", "--rows", "2", "--max-new-tokens", "4"],
        ["datasets", "stats", "rows.jsonl", "--model", "."],
    ],
    ids=lambda command: command[0],
)
def test_a_command(there, command):
    there.run(*command)


def test_a_server(there):
    server = there.start("serve", ".", "--port", "0")
    with ended(server):
        assert any(line.startswith("Ready") for line in server.stdout), "it ended"
    assert there.sprung() == set()


def test_the_pages_and_their_worker(there):
    """The pages make sure that somebody works: a process that is started in Camelid's home."""
    store = open_store(there.path)

    def working() -> list[str]:
        return [name for name in live_workers(store) if name != "starting"]

    pages = there.start("ui", "--port", "0")
    with ended(pages):
        until(lambda: pages.poll() is not None or there.sprung() or working())
        workers = working()
    for name in workers:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(name.split(":")[1])).terminate()
    assert there.sprung() == set()
    assert len(workers) == 1
    until(lambda: live_workers(store) == [])
