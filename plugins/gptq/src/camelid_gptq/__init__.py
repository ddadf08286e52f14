"""What this plugin gives to Camelid: the exporter `gptq` and `camelid quantize`. GPTQModel has a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.commands import Command
    from camelid_core.models.capabilities import Capability
    from camelid_core.plugin_settings import PluginSettings
    from camelid_core.plugins import Note
    from camelid_train.export.exporter import Exporter

CAMELID_API = 1


@hookimpl
def camelid_exporters() -> list[Exporter[Any]]:
    from .exporter import GPTQ

    return [GPTQ]


@hookimpl
def camelid_capabilities() -> list[Capability]:
    from camelid_core.models.capabilities import Capability

    test = "test_a_quantised_model_loads_in_transformers_and_computes_what_its_weights_say"
    text = "Quantised with GPTQ: Transformers loads it and computes what its weights say."
    return [Capability("gptq", text, {"llama": f"plugins/gptq/tests/with_gptqmodel.py::{test}"})]


@hookimpl
def camelid_settings() -> list[PluginSettings[Any]]:
    from .settings import SETTINGS

    return [SETTINGS]


@hookimpl
def camelid_notes() -> list[Note]:
    from .auto_gptq import note

    return [note()]


@hookimpl
def camelid_commands() -> list[Command]:
    from camelid_core.commands import Command

    return [Command("quantize", "Quantise a model with GPTQ.", "camelid_gptq.commands:app")]
