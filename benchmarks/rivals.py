"""Other programs to measure against, each in an environment of its own.

Knows what to install and how to start a benchmark's script in there. Imports the standard library alone: the rival's
interpreter imports it, too.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import types
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REQUIREMENTS = {
    "llamafactory": ["llamafactory==0.9.5"],
    "trl": ["trl>=1.14,<2", "peft"],
}


def home_of(rival: str) -> Path:
    """Where its environment is made if none is named."""
    return Path.home() / ".cache" / "camelid-bench" / rival


def python_of(rival: str, directory: Path | None = None) -> Path:
    """The interpreter of an environment that has `rival`, made if it is missing, with the torch that Camelid has."""
    directory = directory or home_of(rival)
    python = directory / "bin" / "python"
    if not python.exists():
        torch = importlib.metadata.version("torch").partition("+")[0]
        wanted = [*REQUIREMENTS[rival], f"torch=={torch}"]
        print(f"Installing {' '.join(wanted)} in {directory} …", file=sys.stderr)
        venv.create(directory, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True).returncode:
        # it was built for another torch and would take transformers down with it; text needs neither
        remove = [python, "-m", "pip", "uninstall", "--yes", "torchvision", "torchaudio"]
        subprocess.run(remove, check=True, capture_output=True)
    return python


def run(
    parser: argparse.ArgumentParser,
    called: Mapping[str, Callable[[dict[str, Any]], Any]],
    compare: Callable[[argparse.Namespace], Any],
) -> None:
    """A benchmark's `main`: print what `compare` finds of the options as JSON or, in a process that `call` started, do
    the one of `called` that it asks for."""
    parser.add_argument("--model", type=Path, help="a Transformers directory, such as SmolLM2-135M-Instruct's")
    parser.add_argument("--as", dest="what", choices=list(called), help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}  # for all: idle threads sleep
    if arguments.what:
        answer(arguments.task, called[arguments.what](asked(arguments.task)))
        return
    if arguments.model is None:
        parser.error("--model is needed: a Transformers directory")
    with tempfile.TemporaryDirectory() as home:  # nothing of earlier runs, nothing left behind
        os.environ["CAMELID_HOME"] = home
        print(json.dumps(compare(arguments), indent=2, ensure_ascii=False))


def call(python: Path | str, script: str, what: str, task: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Run `script --as what` on a task that is JSON, in a fresh process; it answers with `answer`."""
    question, result = scratch / "task.json", scratch / "result.json"
    result.unlink(missing_ok=True)
    question.write_text(json.dumps(task), encoding="utf-8")
    command = [str(python), script, "--as", what, "--task", str(question)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not result.exists():
        sys.exit(f"{what} failed:\n{done.stderr[-4000:]}")
    answered: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return answered


def asked(task: Path) -> dict[str, Any]:
    """The task, in the process that `call` started."""
    return dict(json.loads(task.read_text(encoding="utf-8")))


def answer(task: Path, result: dict[str, Any]) -> None:
    (task.parent / "result.json").write_text(json.dumps(result), encoding="utf-8")


def stand_in(name: str) -> None:
    """An empty module where the real one cannot be loaded (built for another torch, say)."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = module


def versions(*names: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in names}


def machine() -> str:
    """Cores and name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} × {name}"
