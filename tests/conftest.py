"""A clean environment with our packages and the example plugin installed for real.

Third-party packages are linked in from the environment that runs the tests: a second torch would prove nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from camelid_core.testing import tiny_model

os.environ.setdefault("OMP_NUM_THREADS", "1")  # every program started here has one: two workers share two cores

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin-minimal"
PACKAGES = tuple(ROOT / "packages" / name for name in ("core", "train", "serve", "ui"))
OURS = ("camelid", "_camelid", "_editable", "__editable__")


LONGEST_FIRST = ("model", "install", "browser", "slow")
"""Marks of tests whose files are begun first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files go to the next free worker, in this order: what takes long must not be what is left at the end."""
    first: dict[Path, int] = {}
    for item in items:
        marked = [place for place, name in enumerate(LONGEST_FIRST) if item.get_closest_marker(name)]
        first[item.path] = min([*marked, first.get(item.path, len(LONGEST_FIRST))])
    items.sort(key=lambda item: first[item.path])


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
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """Makes an environment with the four packages, or with `sources`, and further distributions of ours, by their
    directories or wheels. `without` are third-party packages that it does not get from here."""

    def make(*further: Path, without: tuple[str, ...] = (), sources: Sequence[Path] = PACKAGES) -> Environment:
        path = bare_environment(tmp_path_factory.mktemp("clean") / "venv", with_pip=True, without=without)
        made = Environment(path, tmp_path_factory.mktemp("home"))
        isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
        quiet = ("--quiet", "--disable-pip-version-check", "--no-deps")
        made.run("python", "-m", "pip", "install", *quiet, *isolation, *sources, *further)
        return made

    return make


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of each package and each plugin, by the distribution's name."""
    directory = tmp_path_factory.mktemp("wheels")
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    sources = [*PACKAGES, *(path.parent for path in sorted((ROOT / "plugins").glob("*/pyproject.toml")))]
    build = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        *isolation,
    ]
    subprocess.run([*build, "--wheel-dir", directory, *sources], check=True)
    return {path.name.split("-")[0].replace("_", "-"): path for path in directory.glob("*.whl")}


@pytest.fixture(scope="session")
def environment(make_environment: Callable[..., Environment]) -> Environment:
    return make_environment(PLUGIN)


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built Space, started as its host does: in an environment that has nothing of ours."""
    scratch = tmp_path_factory.mktemp("space")
    subprocess.run([sys.executable, ROOT / "space" / "build.py", scratch / "bundle"], check=True)
    python = bare_environment(scratch / "venv") / "bin" / "python"
    tiny_model(scratch / "home" / "models" / "smollm2-135m")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    port = _free_port()
    environment = kept | {
        "CAMELID_HOME": str(scratch / "home"), "HF_HUB_OFFLINE": "1", "GRADIO_SERVER_PORT": str(port),
    }  # fmt: skip
    with (scratch / "log.txt").open("wb") as log:
        process = subprocess.Popen([python, "app.py"], cwd=scratch / "bundle", env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 240
        while not _answers(url):
            assert process.poll() is None, (scratch / "log.txt").read_text()
            assert time.monotonic() < deadline, (scratch / "log.txt").read_text()
            time.sleep(0.3)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(240)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/config", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def bare_environment(path: Path, with_pip: bool = False, without: tuple[str, ...] = ()) -> Path:
    """Everything third-party but `without`, and nothing of ours. What is linked lies beside the environment, where pip
    touches nothing: inside, it would follow the links and uninstall from where they lead."""
    venv.create(path, with_pip=with_pip, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    link = path.with_name("third-party")
    link_packages(link, (Path(entry) for entry in sys.path if entry.endswith("site-packages")), without)
    (path / "lib" / version / "site-packages" / "third-party.pth").write_text(f"{link}\n")
    return path


def link_packages(target: Path, directories: Iterable[Path], without: tuple[str, ...] = ()) -> None:
    """Everything installed in `directories` but what is ours; the first of a name wins."""
    target.mkdir()
    skipped = (*OURS, "pip", *without)
    for directory in directories:
        for item in directory.iterdir() if directory.is_dir() else ():
            place = target / item.name
            if not item.name.startswith(skipped) and item.suffix != ".pth" and not place.exists():
                place.symlink_to(item)
