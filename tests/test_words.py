"""Rules about language: words that are retired stay away, and a module's name says what is inside."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("packages/*/src/*/**/*.py"), *ROOT.glob("plugins/*/src/*/**/*.py")])
RETIRED = ROOT / "docs/retired-words.txt"

VAGUE = {
    "acting", "answered", "base", "checking", "choosing", "closed", "common", "comparing", "completing", "fitting",
    "forms", "helpers", "keeping", "kept", "kinds", "knobs", "making", "manager", "many", "misc", "opening", "ours",
    "own", "parts", "picking", "place", "places", "predicted", "preparing", "reading", "room", "running", "sharing",
    "taking", "talk", "talking", "telling", "together", "utils", "watching", "weighing",
}  # fmt: skip
"""Names of modules that do not say what is inside."""

GERUNDS = {
    "interleaving", "launching", "listing", "loading", "mixing", "monitoring", "packing", "planning", "publishing",
    "sampling", "saving", "staging", "testing", "training", "wording",
}  # fmt: skip
"""Terms of the field, or names of folders that say what is done in them."""

PARALLEL = {"services", "tabs", "views", "commands", "compat", "trainers", "readers", "writers"}
"""Layers with one module for each subject: the same name there is the same subject."""

SAME_SUBJECT: dict[str, str] = {
    "adapters": "model families: what an adapter is, and those that come with Camelid",
    "plugins": "the host of plugins, and the command that lists them",
    "worker": "the worker, and the command that starts one",
    "config": "the base of all configurations, and the one of mixtures",
    "files": "a data file as a dataset, and the commands on data files",
    "feedback": "the log of feedback: adding to it, and reading it",
    "merge": "the merge task; its command and its flags are layers",
    "parity": "the evaluation, and its command",
    "server": "uvicorn as both servers set it up, and as the API ends it",
    "registry": "the registry of tuning methods and that of objectives",
    "cache": "the token cache, and its command",
    "arguments": "arguments that commands share, and those of other tools",
}
"""Basenames that one package has twice outside of parallel layers, and why that is one thing."""


def module_names() -> dict[str, list[Path]]:
    """Package and basename → its modules."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in SOURCES:
        if path.name != "__init__.py":
            inside = path.relative_to(next(parent for parent in path.parents if parent.parent.name == "src"))
            found[f"{path.parts[len(ROOT.parts) + 1]}:{path.stem}"].append(inside)
    return found


def test_retired_words_stay_away():
    """Each line of docs/retired-words.txt is matched as a whole word, in any case, in everything but the changelog."""
    patterns = [line for line in RETIRED.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(patterns) > 10
    command = ["git", "grep", "-nwiIE", "|".join(f"({pattern})" for pattern in patterns), "--", "."]
    command += [":!CHANGELOG.md", f":!{RETIRED.relative_to(ROOT)}", ":!tests/test_words.py"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode in (0, 1), found.stderr
    assert found.stdout == ""


def test_names_of_modules_say_what_is_inside():
    names = {path.stem for path in SOURCES} | {path.parent.name for path in SOURCES}
    assert names & VAGUE == set()
    assert {name for name in names if re.fullmatch(r"[a-z]+ing", name)} - GERUNDS == set()


def test_a_name_that_is_there_twice_is_one_subject():
    """Outside of parallel layers no package has three modules of one name, and two only with the reason."""
    for key, paths in module_names().items():
        apart = [path for path in paths if not set(path.parts) & PARALLEL]
        stem = key.split(":")[1]
        assert len(apart) <= 1 or (len(apart) == 2 and stem in SAME_SUBJECT), (key, paths)


def test_no_reason_outlives_its_modules():
    names = {key.split(":")[1] for key, paths in module_names().items() if len(paths) > 1}
    assert set(SAME_SUBJECT) <= names
