"""What this plugin gives to Camelid: engines over HTTP, such as vLLM, SGLang, llama.cpp's server and Ollama."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.plugin_settings import PluginSettings
    from camelid_serve.engine import EngineKind

CAMELID_API = 1


@hookimpl
def camelid_settings() -> list[PluginSettings[Any]]:
    from .settings import SETTINGS

    return [SETTINGS]


@hookimpl
def camelid_engines() -> list[EngineKind]:
    from camelid_serve.engine import EngineKind

    from .flavours import FLAVOURS

    here = "camelid_openai_engine"
    running = EngineKind(
        "openai",
        "A server that runs already, at `url`: vLLM, SGLang, llama.cpp's, Ollama, Camelid, or any like OpenAI's.",
        f"{here}.loading:connect",
        gguf=True,
        options=f"{here}.options:ClientOptions",
    )
    started = [
        EngineKind(
            flavour.name,
            f"{flavour.title}, started and ended with Camelid.",
            f"{here}.loading:start_{flavour.name.replace('-', '_')}",
            gguf=flavour.launch.weights != "transformers",
            options=f"{here}.options:ServerOptions",
        )
        for flavour in FLAVOURS.values()
        if flavour.launch is not None and flavour.launch.offered
    ]
    return [running, *started]
