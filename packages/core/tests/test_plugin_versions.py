"""What an artefact was made with is compared with what is installed: other versions are said, what lacks is refused."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest
from camelid_core import hookimpl
from camelid_core.artefacts import Manifest, TemplateContract
from camelid_core.errors import ModelError
from camelid_core.models.adapters import UNKNOWN
from camelid_core.models.plugin_versions import missing_plugins, plugin_notes
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import Host, Plugin, load_host
from camelid_core.templates.role_template import RoleTemplate
from camelid_core.testing import tiny_model


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    return resolve_model(str(tiny_model(tmp_path_factory.mktemp("models") / "tiny")), load_host())


def host_with(version: str, *names: str) -> Host:
    """Core, and `camelid-mine` of a version with a template and a tuning method of each of these names."""
    module = types.ModuleType("mine")

    @hookimpl
    def camelid_prompt_templates():
        return [RoleTemplate(name, "x", user="{content}", assistant=">") for name in names]

    @hookimpl
    def camelid_tuning_methods():
        return [types.SimpleNamespace(name=name) for name in names]

    module.camelid_prompt_templates, module.camelid_tuning_methods = camelid_prompt_templates, camelid_tuning_methods
    first_party = [each for each in load_host().plugins if each.name in ("camelid-core", "camelid-train")]
    host = Host()
    host.load([*first_party, Plugin("camelid-mine", version, module)])
    assert host.problems == []
    return host


def made_with(version: str, name: str = "mine", method: str = "mine") -> Manifest:
    contract = TemplateContract(name=name, jinja="x", sha256="")
    plugins = {"camelid-core": "0.0.1", "camelid-mine": version, "camelid-other": "7"}
    return Manifest(kind="adapter", template=contract, parameters={"method": {"type": method}}, plugins=plugins)


def test_another_version_is_said_of_each_thing_that_came_from_it(resolved):
    model = replace(resolved, manifest=made_with("1.0"))
    notes = plugin_notes(model, host_with("2.0", "mine"))
    assert [note.split(" was made with the ")[1] for note in notes] == [
        f"{word} 'mine' of camelid-mine 1.0, and camelid-mine 2.0 is installed here; "
        "pip install camelid-mine==1.0 for what it was made with."
        for word in ("template", "tuning method")
    ]


def test_the_same_version_and_plugins_that_gave_it_nothing_are_not_worth_a_word(resolved):
    assert plugin_notes(replace(resolved, manifest=made_with("2.0")), host_with("2.0", "mine")) == []
    assert plugin_notes(replace(resolved, manifest=made_with("1.0", "alpaca", "lora")), host_with("2.0", "mine")) == []
    assert plugin_notes(resolved, host_with("2.0", "mine")) == []


def test_what_is_gone_and_can_be_done_without_is_said_with_what_to_install(resolved):
    notes = plugin_notes(replace(resolved, manifest=made_with("2.0", method="gone")), host_with("2.0", "mine"))
    assert len(notes) == 1
    assert "was made with the tuning method 'gone', which is not here" in notes[0]
    assert "pip install camelid-other==7." in notes[0]


def test_an_architecture_that_a_plugin_brought_is_refused_without_it(resolved):
    host, manifest = host_with("2.0"), made_with("2.0", "alpaca", "lora")
    assert missing_plugins(manifest, host) == ["camelid-other==7"]
    unknown = replace(resolved, manifest=manifest, adapter=UNKNOWN, config={"model_type": "no-such-type"})
    with pytest.raises(ModelError, match=r"'no-such-type', which neither .* knows; pip install camelid-other==7"):
        plugin_notes(unknown, host)
    assert plugin_notes(replace(unknown, config={"model_type": "gpt2"}), host) == []  # Transformers knows it
