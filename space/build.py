"""Build a self-contained Hugging Face Space: `python space/build.py OUT`.

Copies `app.py`, the packages' sources and the versions this repository pins. Needs nothing but Python.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "space"
PACKAGES = (
    *(ROOT / "packages" / name for name in ("core", "train", "serve", "ui")),
    ROOT / "plugins" / "alpaca-cot",
)
EXTRAS = {"camelid-core": ("torch",)}
NOT_NEEDED = {"gradio"}
"""Installed by the Space itself (`sdk_version`)."""
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def build(out: Path) -> None:
    """Write the Space into the new or empty directory `out`."""
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{str(out)!r} is not empty; name a new directory.")
    projects = [tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8")) for package in PACKAGES]
    pins = pinned()
    (out / "packages").mkdir(parents=True)
    for package in PACKAGES:
        shutil.copytree(package / "src", out / "packages", dirs_exist_ok=True, ignore=_leave_out)
    shutil.copyfile(HERE / "app.py", out / "app.py")
    shutil.copyfile(ROOT / "LICENSE", out / "LICENSE")
    page = (HERE / "README.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(page.replace("{sdk_version}", pins["gradio"]), encoding="utf-8")
    plugins = [entry for project in projects for entry in entries(project["project"])]
    (out / "plugins.json").write_text(json.dumps(plugins, indent=2) + "\n", encoding="utf-8")
    lines = [f"--extra-index-url {TORCH_INDEX}", *requirements(projects, pins)]
    (out / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def pinned() -> dict[str, str]:
    """Pinned versions by name: those this repository is tested with."""
    text = (ROOT / "constraints-cpu.txt").read_text(encoding="utf-8")
    return {name_of(line): line.partition("==")[2].split()[0] for line in text.splitlines() if "==" in line}


def entries(project: dict[str, Any]) -> Iterator[dict[str, str]]:
    for name, module in project.get("entry-points", {}).get("camelid", {}).items():
        yield {"name": name, "version": project["version"], "module": module}


def requirements(projects: list[dict[str, Any]], pins: dict[str, str]) -> list[str]:
    """The dependencies of our packages, at the pinned versions."""
    needed: set[str] = set()
    for each in projects:
        project = each["project"]
        extras = EXTRAS.get(project["name"], ())
        lines = [
            *project["dependencies"],
            *(line for extra in extras for line in project["optional-dependencies"][extra]),
        ]
        needed |= {name_of(line) for line in lines}
    ours = {each["project"]["name"] for each in projects}
    return [f"{name}=={pins[name]}" for name in sorted(needed - ours - NOT_NEEDED)]


def name_of(line: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0].lower().replace("_", "-")


def _leave_out(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__" or name.endswith(".egg-info")]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python space/build.py OUT")
    build(Path(sys.argv[1]))
