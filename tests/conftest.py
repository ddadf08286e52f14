"""A clean environment with our packages and the example plugin installed for real.

Third-party packages are linked in from the environment that runs the tests: a second torch would prove nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin-minimal"
OURS = ("camelid", "_camelid", "_editable", "__editable__")


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own; `run` runs one of its programs with a Camelid home of its own."""

    path: Path
    home: Path

    def run(self, *command: object, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment = kept | {"CAMELID_HOME": str(self.home), "HF_HUB_OFFLINE": "1"} | variables
        program, *arguments = map(str, command)
        done = subprocess.run(
            [self.path / "bin" / program, *arguments], capture_output=True, text=True, env=environment, cwd=self.path
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: object) -> Any:
        return json.loads(self.run("camelid", *arguments, "--json").stdout)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    path = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(path, with_pip=True, symlinks=True)
    made = Environment(path, tmp_path_factory.mktemp("home"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    link = path / "third-party"
    link_packages(link, (Path(entry) for entry in sys.path if entry.endswith("site-packages")))
    (path / "lib" / version / "site-packages" / "third-party.pth").write_text(f"{link}\n")
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    sources = [*(ROOT / "packages" / name for name in ("core", "train", "serve", "ui")), PLUGIN]
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps")
    made.run("python", "-m", "pip", "install", *quiet, *isolation, *sources)
    return made


def link_packages(target: Path, directories: Iterable[Path]) -> None:
    """Everything installed in `directories` but what is ours; the first of a name wins."""
    target.mkdir()
    for directory in directories:
        for item in directory.iterdir() if directory.is_dir() else ():
            place = target / item.name
            if not item.name.startswith((*OURS, "pip")) and item.suffix != ".pth" and not place.exists():
                place.symlink_to(item)
