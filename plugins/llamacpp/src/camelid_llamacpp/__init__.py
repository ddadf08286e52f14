"""What this plugin gives to Camelid: an engine for GGUF files. llama.cpp is loaded when a model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_serve.engine import EngineKind

CAMELID_API = 1


@hookimpl
def camelid_engines() -> list[EngineKind]:
    from camelid_serve.engine import EngineKind

    return [EngineKind("llamacpp", "GGUF files, through llama.cpp.", "camelid_llamacpp.engine:load", gguf=True)]
