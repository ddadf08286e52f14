"""`camelid plugins new`: what is refused, and that nothing is ever overwritten."""

from __future__ import annotations

import pytest
from camelid_core.builtin.plugin_kinds import KINDS
from camelid_core.commands.plugins import app
from camelid_core.errors import CamelidError, DuplicateName, UnknownName, UsageError
from camelid_core.plugin_kit.plugin_name import PluginName, checked_name
from camelid_core.plugin_kit.skeleton import plugin_files, write_plugin
from camelid_core.plugins import Host, load_host
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner


@pytest.fixture
def new(tmp_path):
    def run(*arguments: str):
        return CliRunner().invoke(app, ["new", *arguments, "--out", str(tmp_path)])

    return run


def test_it_says_what_to_type_next(new, tmp_path):
    done = new("camelid-haiku", "--kind", "template")
    assert done.exit_code == 0
    typed = done.output.splitlines()
    assert any(line.startswith("  pip install -e '") and line.endswith("camelid-haiku[test]'") for line in typed)
    assert any(line.startswith("  pytest ") for line in typed)
    assert "  camelid templates list" in typed
    assert (tmp_path / "camelid-haiku" / "src" / "camelid_haiku" / "template.py").is_file()


@pytest.mark.parametrize("made", ["directory", "file"])
def test_what_is_there_is_never_overwritten(new, tmp_path, made):
    place = tmp_path / "haiku"
    if made == "directory":
        place.mkdir()
    else:
        place.write_text("mine")
    done = new("haiku", "--kind", "template")
    assert isinstance(done.exception, UsageError)
    assert "exists; nothing was written" in str(done.exception)
    assert place.read_text() == "mine" if made == "file" else list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (["haiku"], UsageError, "say what it adds: --kind model or --kind template"),
        (["haiku", "--kind", "templat"], UnknownName, "Did you mean 'template'?"),
        (["Haiku_2", "--kind", "template"], UsageError, "for example 'haiku-2'"),
        (["4bit", "--kind", "template"], UsageError, "write a letter, then small letters"),
        (["a/../b", "--kind", "template"], UsageError, "for example 'a-b'"),
        (["x" * 33, "--kind", "template"], UsageError, "32 characters at most"),
        (["json", "--kind", "template"], DuplicateName, "a module called 'json' is there already.*'camelid-json'"),
        (["tests", "--kind", "template"], DuplicateName, "a module called 'tests'"),
        (["pytest", "--kind", "template"], DuplicateName, "a distribution called 'pytest' is installed"),
        (["alpaca", "--kind", "template"], DuplicateName, "template 'alpaca' is given by camelid-core"),
        (["camelid-alpaca", "--kind", "template"], DuplicateName, "template 'alpaca' is given by camelid-core"),
    ],
)
def test_what_is_refused_says_what_to_type(new, tmp_path, arguments, error, sentence):
    done = new(*arguments)
    assert isinstance(done.exception, error)
    with pytest.raises(error, match=sentence):
        raise done.exception
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be made: Not a directory\. Choose another --out"):
        write_plugin(KINDS[1], PluginName("haiku"), tmp_path / "file" / "haiku", "0.1.0")


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_is_refused(text):
    try:
        name = checked_name(text)
    except CamelidError:
        return
    assert name.module.isidentifier()
    assert name.item in name.distribution


def test_only_what_is_installed_is_offered():
    """Each package describes its own kinds: core alone has no word of engines."""
    alone = Host()
    alone.load([plugin for plugin in load_host().plugins if plugin.name == "camelid-core"])
    assert alone.registry("camelid_plugin_kinds").names() == ["model", "template", "dataset", "reader"]


@pytest.mark.parametrize(
    ("version", "bounds"), [("0.1.0", ">=0.1,<0.2"), ("0.12.3", ">=0.12,<0.13"), ("2.3.1", ">=2.3,<3")]
)
def test_a_plugin_goes_with_the_releases_that_have_its_hooks(version, bounds):
    files = plugin_files(KINDS[1], PluginName("haiku"), version)
    assert f'dependencies = ["camelid-core{bounds}"]' in files["pyproject.toml"]


def test_a_kinds_hook_and_listing_are_there():
    host = load_host()
    for kind in host.registry("camelid_plugin_kinds"):
        assert kind.hook in host.hooks()
        assert kind.listing.split()[1] in host.commands
