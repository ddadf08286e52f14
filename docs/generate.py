"""Write docs/reference from the code and from docs/plugins-directory.toml; with `--check`, fail if it is not fresh."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from camelid_core.cli import load_command
from camelid_core.config_help import Section, allowed, sections, text_of
from camelid_core.models.capabilities import FamilySupport, Support, capability_helps, families
from camelid_core.plugin_kit.plugin_kind import plugin_kinds
from camelid_core.plugin_kit.plugin_name import PluginName
from camelid_core.plugin_kit.skeleton import plugin_files
from camelid_core.plugins import Host, Plugin, load_host

HERE = Path(__file__).parent / "reference"
HOOKSPECS = ("camelid_core.hookspecs", "camelid_train.hookspecs", "camelid_serve.hookspecs", "camelid_ui.hookspecs")
FIRST_PARTY = ("camelid-core", "camelid-train", "camelid-serve", "camelid-ui")


def cli() -> Iterator[str]:
    yield "# Commands\n\nMade from the code by `make docs`.\n"
    commands = load_host().commands
    for command in sorted(commands, key=lambda item: item.name):
        if commands.plugin_of(command.name) not in FIRST_PARTY:
            continue
        yield from _command(load_command(command), f"camelid {command.name}", 2)


def _command(command: Any, path: str, level: int) -> Iterator[str]:
    context = command.make_context(path, [], resilient_parsing=True, terminal_width=90, max_content_width=90)
    yield f"{'#' * level} {path}\n\n```text\n{command.get_help(context).strip()}\n```\n"
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from _command(child, f"{path} {name}", level + 1)


def hooks() -> Iterator[str]:
    yield "# Hooks\n\nMade from the code by `make docs`. A plugin's entry module implements any of them.\n"
    for path in HOOKSPECS:
        module = import_module(path)
        yield f"## {path.partition('.')[0]}\n\n{inspect.getdoc(module) or ''}\n"
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("camelid_"):
                returns = function.__annotations__.get("return", "")
                yield f"### {name}() -> {returns}\n\n{inspect.getdoc(function)}\n"
    yield "## What plugins may import\n\nThe modules that `camelid plugins new` writes imports of:\n"
    yield from (f"- `{name}`" for name in _importable())


def _importable() -> list[str]:
    """The modules of ours that any kind's first files import, and those of the hooks."""
    texts = (text for kind in plugin_kinds() for text in plugin_files(kind, PluginName("x"), "0.1.0").values())
    return sorted({name for text in texts for name in re.findall(r"(?m)^ *from (camelid_[\w.]+) import", text)})


def directory() -> Iterator[str]:
    yield "# Plugins\n\nMade from `docs/plugins-directory.toml` by `make docs`; a line there adds one.\n"
    yield "| plugin | adds | what it does | where |\n| --- | --- | --- | --- |"
    entries = tomllib.loads((HERE.parent / "plugins-directory.toml").read_text(encoding="utf-8"))
    for name, entry in sorted(entries.items()):
        where, kinds = entry["where"], ", ".join(map(_kind, entry["kinds"]))
        link = where if "://" in where else f"../../{where}"
        yield f"| `{name}` | {kinds} | {entry['about']} | [{where}]({link}) |"


def _kind(name: str) -> str:
    """A kind as people say it. Raises ValueError: no kind and no hook is called so."""
    if name not in plugin_kinds() and f"camelid_{name}" not in load_host().hooks():
        raise ValueError(f"docs/plugins-directory.toml: {name!r} is no kind of plugin and no hook")
    return name.replace("_", " ")


def config() -> Iterator[str]:
    yield "# Configuration\n\nMade from the code by `make docs`. Typed as `section.field=value`.\n"
    for task in load_host().tasks:
        if load_host().tasks.plugin_of(task.name) in FIRST_PARTY:
            yield f"## {task.name}\n\n{task.help}\n"
            for section in sections(task.load_config()):
                if section.cls.__module__.partition(".")[0].replace("_", "-") in FIRST_PARTY:
                    yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    if not section.fields:
        return
    which = f' with `type = "{section.type}"`' if section.type else ""
    yield f"{'### `[' + section.path + ']`' + which if section.path else '### Keys'}\n"
    yield "\n\n".join(text for text in (section.about, inspect.getdoc(section.cls)) if text) + "\n"
    yield "| key | default | allowed | what it is |\n| --- | --- | --- | --- |"
    for name, field in section.fields.items():
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
        yield f"| `{name}` | {default} | {allowed(field)} | {text_of(field)} |"
    yield ""


def modules() -> Iterator[str]:
    yield "# Modules\n\nMade from the code by `make docs`: the first sentence of every module, folder by folder.\n"
    for source in sorted([*HERE.parent.parent.glob("packages/*/src/*"), *HERE.parent.parent.glob("plugins/*/src/*")]):
        if (source / "__init__.py").is_file():
            yield from _folder(source, source.name)


def _folder(folder: Path, name: str) -> Iterator[str]:
    yield f"## {name}\n\n{_first_sentence(folder / '__init__.py')}\n"
    files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    if files:
        yield "| module | what it does |\n| --- | --- |"
        yield from (f"| `{path.stem}` | {_first_sentence(path)} |" for path in files)
        yield ""
    for child in sorted(folder.iterdir()):
        if (child / "__init__.py").is_file():
            yield from _folder(child, f"{name}.{child.name}")


def _first_sentence(path: Path) -> str:
    """The first paragraph of the docstring, up to where it says what the module knows."""
    text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return re.split(r"(?<=[.:]) (?=Knows\b)", " ".join(text.split()))[0].replace("|", "\\|")


def family_pages() -> Iterator[str]:
    host = _whole_repository()
    found = list(families(host))
    helps = capability_helps(host)
    yield "# Model families\n\nMade from the code by `make docs`: the adapters of this repository, plugins among them."
    yield "`camelid models families` shows those that are installed. A test that is named as verifying something reads"
    yield "the same data and fails where it does not hold. Other architectures of Transformers get inferred"
    yield "LoRA targets.\n"
    yield "| capability | what it means |\n| --- | --- |"
    yield from (f"| {name} | {text} |" for name, text in helps.items())
    yield f"\n| family | {' | '.join(helps)} |\n| --- |{' --- |' * len(helps)}"
    for each in found:
        states = (each.capabilities[name].in_words for name in helps)
        yield f"| [{each.adapter.name}](#{each.adapter.name}) | {' | '.join(states)} |"
    for each in found:
        yield from _family(each)


def _family(family: FamilySupport) -> Iterator[str]:
    adapter = family.adapter
    yield f"\n## {adapter.name}\n\n{adapter.help}\n"
    facts = {
        "model types": _code(adapter.model_types),
        "adapter from": f"`{family.plugin}`",
        "template without one of its own": f"`{adapter.template}`",
        "LoRA targets": _code(adapter.lora_targets) or "inferred",
        "takes no adapter": _code(adapter.no_lora),
        "positions": adapter.positions,
        "padding token where none is named": _code(filter(None, [adapter.pad_token])),
        "known by name": ", ".join(f"`{each.name}` ({each.hub_id})" for each in adapter.pullable),
        **{name: _support(adapter.model_types, each) for name, each in family.capabilities.items()},
    }
    yield "| | |\n| --- | --- |"
    yield from (f"| {name} | {text} |" for name, text in facts.items() if text)
    if adapter.notes:
        yield "\n" + "\n".join(f"- {note}" for note in adapter.notes)


def _support(model_types: tuple[str, ...], support: Support) -> str:
    of = "" if support.model_types == model_types else f" for {_code(support.model_types)}"
    tests = ", ".join(f"`{test.partition('::')[0]}` ({test.partition('::')[2]})" for test in support.tests)
    return f"verified{of} by {tests}" if tests else f"refused: {support.refusal}" if support.refusal else "not tried"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _whole_repository() -> Host:
    """A host with every plugin of this repository, installed or not: the page is the same wherever it is made."""
    host, loaded = Host(), []
    for source in sorted(HERE.parents[1].glob("p*/*/src/camelid_*")):
        sys.path.append(str(source.parent))
        entry = f"{source.name}.plugin" if (source / "plugin.py").is_file() else source.name
        loaded.append(Plugin(source.name.replace("_", "-"), "", import_module(entry)))
    host.load(loaded)
    return host


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "cli.md": cli,
    "hooks.md": hooks,
    "config.md": config,
    "modules.md": modules,
    "families.md": family_pages,
    "plugins-directory.md": directory,
}


def main() -> int:
    stale = []
    for name, make in PAGES.items():
        text = "\n".join(make()).rstrip() + "\n"
        page = HERE / name
        if "--check" in sys.argv:
            if not page.is_file() or page.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            HERE.mkdir(exist_ok=True)
            page.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"docs/reference/{', '.join(stale)} no longer match the code; run `make docs`.\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
