"""Rules about the code itself: its size, its direction, what it must never call, what every shipped file holds."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from camelid_core import hookspecs as core_hooks
from camelid_core.config import load
from camelid_core.plugins import load_host
from camelid_train.config import Recipe

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])
RECIPES = sorted([*ROOT.glob("examples/**/recipe*.toml"), *ROOT.glob("examples/recipes/*.toml")])
HEAVY = ("torch", "transformers", "datasets", "gradio")


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_modules_stay_small():
    """No module over 600 lines; half of them at most 150."""
    sizes = {path: lines(path) for path in SOURCES}
    assert max(sizes.values()) <= 600, max(sizes, key=sizes.get)
    assert statistics.median(sizes.values()) <= 150


def test_every_module_says_what_it_is_for():
    assert [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_benchmarks_and_examples_name_modules_that_are_there():
    """No test runs them, so that a module that moves would leave them behind."""
    scripts = [path for place in ("benchmarks", "examples", "space") for path in (ROOT / place).rglob("*.py")]
    named = {
        (path.name, node.module)
        for path in scripts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(("camelid_core", "camelid_t", "camelid_s"))
    }
    assert len(named) > 10
    assert [each for each in sorted(named) if importlib.util.find_spec(each[1]) is None] == []


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"model_type\s*(==|in\s*[\[(])", "only adapters know a model family"),
        (r"torch\.load\(|pickle\.load|import pickle|import joblib|read_pickle", "pickles run code"),
        (r"yaml\.(load|full_load|unsafe_load)\((?!text, Loader=_SafeLoader\))", "only safe YAML"),
        (r"shell\s*=\s*True|os\.system\(", "argument lists, never a shell"),
        (r"trust_remote_code\s*=\s*True", "no code from models"),
        (r"AutoTokenizer\.from_pretrained\((?!.*trust_remote_code=False)", "left open, it asks whoever sits there"),
        (
            r"\b(mkd?s?temp|TemporaryDirectory|\w*TemporaryFile)\b|\.partial\"",
            "only what is staged is swept after a kill",
        ),
        (r"\.expanduser\(", "paths that a person types come in through `validated_path`"),
        (r"\.extractall\(", "archives are streamed member by member"),
        (r"\b(TODO|FIXME|XXX)\b", "nothing unfinished"),
        (r"### (Instruction|Response)|<\|im_start\|>", "prompt text lives in templates"),
    ],
)
def test_what_no_source_may_contain(pattern, why):
    allowed = {"templates.py", "testing.py", "locales"}
    hits = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        if not ((path.name in allowed or path.parent.name == "templates") and pattern.startswith("###"))
        if not (path.name == "staging.py" and "temp" in pattern)
        if not (path.name == "paths.py" and "expanduser" in pattern)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
        # the one place that reads checkpoints as their authors published them, as tensors alone
        if not (path.name == "original_weights.py" and re.search(r"torch\.load\(.*weights_only=True", line))
    ]
    assert hits == [], why


STARTERS = [*SOURCES, *ROOT.glob("examples/**/*.py"), *ROOT.glob("space/*.py")]


def open_starts(source: str) -> list[int]:
    """The lines that name the interpreter and do not keep the working directory off its import path."""
    tree = ast.parse(source)
    commands = [node.elts for node in ast.walk(tree) if isinstance(node, ast.List | ast.Tuple)]
    followed = {word: getattr(after, "value", None) for words in commands for word, after in itertools.pairwise(words)}
    return [
        node.lineno
        for node in ast.walk(tree)
        if followed.get(node) not in ("-P", "-I") and names_python(node, str(followed.get(node)))
    ]


def names_python(node: ast.AST, after: str) -> bool:
    if isinstance(node, ast.Constant):
        return after.startswith("-") and bool(re.fullmatch(r"(.*/)?python[\d.]*", str(node.value)))
    if isinstance(node, ast.ImportFrom):
        return node.module == "sys" and "executable" in {alias.name for alias in node.names}
    return isinstance(node, ast.Attribute) and node.attr in ("executable", "_base_executable")


def test_no_process_is_started_with_the_working_directory_on_its_import_path():
    """`camelid_core.subprocesses.module_command` begins a command as it must."""
    found = {path: open_starts(path.read_text(encoding="utf-8")) for path in STARTERS}
    assert {str(path.relative_to(ROOT)): lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('run([sys.executable, "-m", "pip"])', [1]),
        ('run([sys.executable, *flags, "-P"])', [1]),
        ("launch(config, sys.executable)", [1]),
        ('\nfrom sys import executable\nrun([executable, "-c", ""])', [2]),
        ('run(["python3", "-m", "pip"])', [1]),
        ('run(["/usr/bin/python3.12", "-I", "-m", "pip"])', []),
        ('run([sys.executable, "-P", "-m", "pip"])', []),
        ('run((sys.executable, "-I", "-S", leash))', []),
        ('run(["nvidia-smi"])', []),
    ],
)
def test_a_start_that_is_left_open_is_found(source, found):
    assert open_starts(source) == found


@pytest.mark.parametrize("module", ["camelid_core", *(f"camelid_{name}.plugin" for name in ("train", "serve", "ui"))])
def test_importing_a_package_imports_nothing_heavy(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [["--help"], ["models", "list"], ["templates", "list"], ["train", "--help"]])
def test_light_commands_import_nothing_heavy(command, tmp_path):
    code = (
        "import sys\nfrom camelid_core.cli import app\n"
        f"try: app({command!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"CAMELID_HOME": str(tmp_path)}
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_versions_move_in_lock_step():
    projects = [tomllib.loads(path.read_text())["project"] for path in ROOT.glob("packages/*/pyproject.toml")]
    versions = {project["version"] for project in projects}
    assert len(projects) == 4
    assert len(versions) == 1
    pins = [need.partition("==")[2] for p in projects for need in p["dependencies"] if need.startswith("camelid-")]
    assert set(pins) == versions


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_shipped_recipe_loads(path):
    assert load(Recipe, path).model.name


def test_the_map_names_files_that_are_there():
    """docs/architecture.md names each step's file; what it names exists, and every hook has a place in it."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:packages|plugins|examples|tests)/[\w./-]+)`", text)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [hook for hook in load_host().hooks() if hook not in text and hook not in _NOT_ON_THE_MAP] == []


_NOT_ON_THE_MAP = {"camelid_hookspecs", "camelid_compat_commands"}
"""How plugins extend plugins, and other tools' command lines: docs/plugins.md has them."""

_FOR_OTHERS = {"camelid_tabs", "camelid_trainer_callbacks", "camelid_evaluation_sources"}
"""Sources of evaluations: `plugins/lm-eval` has two. Tabs: ours are the frame itself. Callbacks: ours are the loop
itself; the example plugin has one."""


def test_every_hook_is_documented_and_used():
    """Each hook stands in docs/reference/hooks.md and is implemented by one of our own packages."""
    page = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    host = load_host()
    implemented = {name for plugin in host.plugins for name in vars(plugin.module) if name.startswith("camelid_")}
    for hook in host.hooks():
        assert f"### {hook}()" in page
        assert hook in implemented or hook in _FOR_OTHERS
    assert {name for name in vars(core_hooks) if name.startswith("camelid_")} <= set(host.hooks())


def test_our_own_plugins_are_sound():
    assert load_host().check() == []


def test_the_readme_sets_up_with_exactly_two_commands():
    first_block = (ROOT / "README.md").read_text(encoding="utf-8").split("```sh\n")[1].split("```")[0]
    commands = [line.split("#")[0].strip() for line in first_block.strip().splitlines()]
    assert commands == ["make demo", "make test"]
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_every_command_of_the_readme_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = load_host().commands
    for name in set(re.findall(r"^camelid (\w+)", text, re.MULTILINE)):
        assert name in commands
