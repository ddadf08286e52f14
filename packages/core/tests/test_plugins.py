"""Plugins: what sound ones give is there, what broken ones do is said, and nobody else is harmed.

Each plugin here is a real distribution on disk: a module and a `.dist-info` beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from camelid_core import plugins
from camelid_core.errors import PluginError, UnknownName
from camelid_core.plugin_host import discovery as discovery_module
from camelid_core.plugins import FIRST_PARTY, Host, Plugin, discover

TEMPLATE = """
from camelid_core import hookimpl
from camelid_core.templates.role_template import RoleTemplate
"""


def template(name: str) -> str:
    return f'[RoleTemplate("{name}", "x", user="{{content}}", assistant=">")]'


SOUND = TEMPLATE + f"@hookimpl\ndef camelid_prompt_templates():\n    return {template('mine')}\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on the path; its module is dropped again afterwards."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(name: str, source: str, entry: str | None = None, module: str | None = None, metadata: bool = True) -> str:
        module = module or name.replace("-", "_").replace(".", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[camelid]\n{entry or name} = {module}\n")
        return name

    modules = set(sys.modules)
    yield put
    for module in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


def load() -> Host:
    host = Host()
    host.add(discover())
    host.check()
    return host


def complaints(host: Host, plugin: str) -> str:
    return "\n".join(problem.message for problem in host.problems if problem.plugin == plugin)


def assert_unharmed(host: Host) -> None:
    assert {"alpaca", "chatml"} <= set(host.templates.names())
    assert {"models", "plugins", "train"} <= set(host.commands.names())
    assert "cot-arithmetic" in host.datasets


def test_our_own_packages_come_in_through_the_same_door_first_and_sound():
    host = load()
    assert host.problems == []
    names = [plugin.name for plugin in host.plugins]
    ours = [name for name in FIRST_PARTY if name in names]
    assert names[: len(ours)] == ours
    assert_unharmed(host)


def test_what_a_plugin_gives_is_there_under_its_name(install):
    install("camelid-mine", SOUND)
    host = load()
    assert host.problems == []
    assert host.templates.plugin_of("mine") == "camelid-mine"
    assert host.provided_by("camelid-mine") == {"camelid_prompt_templates": ["mine"]}
    assert {plugin.name: plugin.version for plugin in host.plugins}["camelid-mine"] == "1.2"


def test_plugins_load_in_one_order_whatever_the_order_on_disk(install):
    for name in ("camelid-z", "camelid-a", "camelid-m"):
        install(name, SOUND.replace("mine", name))
    others = [plugin.name for plugin in load().plugins if plugin.name not in FIRST_PARTY]
    assert {"camelid-a", "camelid-m", "camelid-z"} <= set(others)
    assert others == sorted(others)


BROKEN = {
    "import error": ("import no_such_module", "importing 'broken' failed: ModuleNotFoundError: No module named"),
    "syntax error": ("def", "importing 'broken' failed: SyntaxError"),
    "raises": ("raise ValueError('oh')", "importing 'broken' failed: ValueError: oh"),
    "leaves": ("raise SystemExit(3)", "importing 'broken' failed: SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "importing 'broken' failed: KeyboardInterrupt"),
    "other api": (f"CAMELID_API = 2\n{SOUND}", "it was built for plugin API 2; this Camelid has 1"),
    "mistyped hook": (
        SOUND.replace("camelid_prompt_templates", "camelid_prompt_template"),
        "hook 'camelid_prompt_template' does not exist. Did you mean 'camelid_prompt_templates'? "
        "The plugin was left out.",
    ),
    "wrong signature": (
        SOUND.replace("templates():", "templates(registry):"),
        "a hook does not fit its specification: Plugin 'broken' for hook 'camelid_prompt_templates'",
    ),
    "raises at call": (
        TEMPLATE + "@hookimpl\ndef camelid_datasets():\n    raise KeyError('gone')\n",
        "camelid_datasets failed: KeyError: 'gone'",
    ),
    "leaves at call": (
        TEMPLATE + "@hookimpl\ndef camelid_commands():\n    raise SystemExit\n",
        "camelid_commands failed: SystemExit",
    ),
    "gives nothing": (
        TEMPLATE + "@hookimpl\ndef camelid_tasks():\n    pass\n",
        "camelid_tasks failed: TypeError: 'NoneType' object is not iterable",
    ),
    "gives nameless things": (
        TEMPLATE + "@hookimpl\ndef camelid_tasks():\n    return [7]\n",
        "camelid_tasks gave 7, which has no name.",
    ),
    "taken name": (
        SOUND.replace("mine", "alpaca"),
        "template 'alpaca' is given by camelid-core and by broken; rename one. camelid-core keeps it.",
    ),
    "hookspecs raise": (
        "def camelid_hookspecs():\n    raise OSError('no')\n",
        "its hook specifications failed: OSError: no",
    ),
    "hookspecs missing": (
        "def camelid_hookspecs():\n    return ['no_such_module']\n",
        "its hook specifications failed: ModuleNotFoundError",
    ),
    "hookspecs empty": (
        "def camelid_hookspecs():\n    return ['json']\n",
        "its hook specifications failed: ValueError",
    ),
}


@pytest.mark.parametrize(("source", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_reported_and_harms_nobody(install, source, sentence):
    install("broken", source)
    install("camelid-mine", SOUND)
    host = load()
    assert sentence in complaints(host, "broken")
    assert {problem.plugin for problem in host.problems} == {"broken"}
    assert "mine" in host.templates
    assert_unharmed(host)


def test_where_code_failed_the_traceback_is_kept(install):
    install("broken", "def deep():\n    raise ValueError('oh')\ndeep()")
    assert "in deep" in load().problems[0].detail


def test_a_plugin_that_hangs_is_given_up(install, monkeypatch, tmp_path):
    over = tmp_path / "over"
    install("broken", f"import pathlib, time\nwhile not pathlib.Path({str(over)!r}).exists(): time.sleep(0.01)")
    import_one = discovery_module._import

    def hasty(entry, owner, version):
        seconds = 0.2 if owner == "broken" else 60.0
        monkeypatch.setattr(discovery_module, "IMPORT_TIMEOUT_SECONDS", seconds)
        return import_one(entry, owner, version)

    monkeypatch.setattr(discovery_module, "_import", hasty)
    host = load()
    over.touch()
    assert complaints(host, "broken") == "importing 'broken' took over 0.2 s and was given up."
    assert_unharmed(host)


def test_what_a_plugin_prints_on_import_does_not_mix_with_output(install, capsys):
    install("camelid-mine", f"print('hello')\n{SOUND}")
    assert "mine" in load().templates
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_the_entry_point_is_called_like_its_distribution(install):
    install("camelid-mine", SOUND, entry="mine")
    host = load()
    assert complaints(host, "camelid-mine") == (
        "its entry point is called 'mine'; it must be called 'camelid-mine', like the distribution."
    )
    assert "mine" not in host.templates


@pytest.mark.parametrize("entry", ["camelid-mine", "camelid_mine", "Camelid.Mine"])
def test_names_are_compared_as_packaging_does(install, entry):
    install("Camelid_Mine", SOUND, entry=entry)
    host = load()
    assert host.problems == []
    assert host.templates.plugin_of("mine") == "camelid-mine"


def test_two_plugins_with_one_template_name_are_both_named(install):
    install("camelid-a", SOUND)
    install("camelid-b", SOUND)
    host = load()
    assert complaints(host, "camelid-b") == (
        "template 'mine' is given by camelid-a and by camelid-b; rename one. camelid-a keeps it."
    )
    assert host.templates.plugin_of("mine") == "camelid-a"


def test_two_distributions_of_one_module_are_reported(install):
    install("camelid-a", SOUND, module="shared")
    install("camelid-b", SOUND, module="shared")
    host = load()
    assert complaints(host, "camelid-b") == "another distribution names the same module; uninstall one of them."
    assert host.templates.plugin_of("mine") == "camelid-a"


def test_a_half_removed_distribution_is_passed_over(install):
    install("camelid-gone", SOUND, metadata=False)
    host = load()
    assert host.problems == []
    assert_unharmed(host)


def test_a_hook_for_an_absent_package_may_be_marked_optional(install):
    source = SOUND + "@hookimpl(optionalhook=True)\ndef camelid_hats():\n    return []\n"
    install("camelid-mine", source)
    host = load()
    assert host.problems == []
    assert "mine" in host.templates


def test_a_plugin_may_bring_hooks_of_its_own(install, tmp_path):
    specs = "from camelid_core.hookspecs import hookspec\n@hookspec\ndef camelid_hats():\n    'Hats.'\n"
    (tmp_path / "hat_specs.py").write_text(specs)
    install(
        "camelid-zoo",
        "from camelid_core import hookimpl\n@hookimpl\ndef camelid_hookspecs():\n    return ['hat_specs']\n",
    )
    hat = "from types import SimpleNamespace\nfrom camelid_core import hookimpl\n"
    install("camelid-hat", hat + "@hookimpl\ndef camelid_hats():\n    return [SimpleNamespace(name='bowler')]\n")
    host = load()
    assert host.problems == []
    assert host.registry("camelid_hats").names() == ["bowler"]
    with pytest.raises(UnknownName, match=r"hat 'fez' is not known\."):
        host.registry("camelid_hats")["fez"]


def test_every_hook_has_a_docstring_and_a_first_use():
    host = load()
    for hook in host.hooks():
        assert getattr(host._manager.hook, hook).spec.function.__doc__
    for hook in (
        "camelid_model_adapters",
        "camelid_prompt_templates",
        "camelid_datasets",
        "camelid_commands",
        "camelid_tasks",
    ):
        assert len(host.registry(hook)) > 0


def test_looking_at_plugins_loads_nothing_heavy():
    import subprocess

    code = (
        "import sys; from camelid_core.plugins import load_host; load_host().commands;"
        "print({'torch', 'transformers', 'gradio', 'datasets', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_plugin_says_little_of_itself_in_print():
    assert repr(Plugin("camelid-x", "1", Path)) == "Plugin(name='camelid-x', version='1')"


def test_copied_sources_are_named_by_the_environment(tmp_path, monkeypatch):
    """No distribution is there; a name that is already taken by one stays with it."""
    (tmp_path / "copied_plugin.py").write_text(SOUND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(
        discovery_module.PLUGINS_VARIABLE, "camelid-copied==3.2=copied_plugin camelid-gone==1=no_such_module"
    )
    discovery = discover()
    found = {plugin.name: plugin.version for plugin in discovery.plugins}
    assert found["camelid-copied"] == "3.2"
    assert set(FIRST_PARTY) <= found.keys()
    assert [problem.plugin for problem in discovery.problems] == ["camelid-gone"]


def test_what_is_written_to_stdout_past_python_does_not_mix_with_output(install, capfd):
    install(
        "camelid-loud", f"import os, subprocess\nos.write(1, b'raw\\n')\nsubprocess.run(['echo', 'child'])\n{SOUND}"
    )
    assert "mine" in load().templates
    printed = capfd.readouterr()
    assert printed.out == ""
    assert set(printed.err.splitlines()) == {"raw", "child"}


def test_a_hook_that_hangs_or_prints_harms_nobody(install, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(plugins, "HOOK_TIMEOUT_SECONDS", 0.5)
    over = tmp_path / "over"
    waits = (
        f"import pathlib, time\n    while not pathlib.Path({str(over)!r}).exists(): time.sleep(0.01)\n    return []\n"
    )
    install("broken", TEMPLATE + f"@hookimpl\ndef camelid_datasets():\n    {waits}")
    install("camelid-loud", SOUND.replace("():\n", "():\n    print('called')\n"))
    host = load()
    over.touch()
    assert complaints(host, "broken") == "camelid_datasets took over 0.5 s and was given up."
    assert "mine" in host.templates
    assert_unharmed(host)
    assert capsys.readouterr().out == ""


def test_a_hook_may_ask_for_what_other_hooks_give(install):
    """Hooks of plugins run in threads of their own: the host must not hold what they wait for."""
    asks = "from camelid_core import hookimpl\n@hookimpl\ndef camelid_datasets():\n    import builtins\n"
    install("camelid-asks", asks + "    return [] if 'alpaca' in builtins.the_host.templates else None\n")
    import builtins

    host = builtins.the_host = Host()
    try:
        host.add(discover())
        assert host.check() == []
    finally:
        del builtins.the_host


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (f"import time\ntime.sleep(0.3)\n{SOUND}", "importing it took 0."),
        (SOUND.replace("():\n", "():\n    import time\n    time.sleep(0.3)\n"), "camelid_prompt_templates took 0."),
    ],
    ids=["import", "hook"],
)
def test_what_is_slow_is_reported_with_seconds_and_is_no_problem(install, monkeypatch, source, sentence):
    monkeypatch.setattr(plugins, "SLOW_SECONDS", 0.25)
    install("camelid-slow", source)
    host = load()
    assert host.problems == []
    (warning,) = [each for each in host.warnings if each.plugin == "camelid-slow"]
    assert warning.message.startswith(sentence)
    assert " s, for which every start waits." in warning.message
    assert "mine" in host.templates


def test_an_unknown_name_may_be_of_a_plugin_that_is_broken(install):
    install("broken", TEMPLATE + "@hookimpl\ndef camelid_datasets():\n    raise KeyError('gone')\n")
    host = load()
    with pytest.raises(
        PluginError, match=r"'mine' .*It may be .*\(broken: camelid_datasets failed: KeyError: 'gone'\)"
    ):
        host.datasets["mine"]
    with pytest.raises(UnknownName) as unknown:  # that hook of it is sound: it has none
        host.templates["mine"]
    assert not isinstance(unknown.value, PluginError)


def test_problems_are_announced_once_each_whenever_they_are_found(install):
    install("camelid-absent", "import no_such_module")
    install("broken", TEMPLATE + "@hookimpl\ndef camelid_datasets():\n    raise KeyError('gone')\n")
    host, heard = Host(), []
    host.add(discover())
    host.announce(heard.append)
    assert [problem.plugin for problem in heard] == ["camelid-absent"]
    host.check()
    host.check()
    assert [problem.plugin for problem in heard] == ["camelid-absent", "broken"]
