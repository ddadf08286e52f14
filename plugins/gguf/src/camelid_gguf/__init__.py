"""What this plugin gives to Camelid: exports to GGUF, of adapters too, and back to Transformers.

llama.cpp and torch are loaded when one runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.models.capabilities import Capability
    from camelid_train.export.exporter import Exporter

CAMELID_API = 1


@hookimpl
def camelid_exporters() -> list[Exporter[Any]]:
    from .adapter_exporter import GGUF_LORA
    from .dequantised import TRANSFORMERS
    from .exporter import GGUF

    return [GGUF, GGUF_LORA, TRANSFORMERS]


@hookimpl
def camelid_capabilities() -> list[Capability]:
    from camelid_core.models.capabilities import Capability

    from .families import FAMILIES, VERIFIED_BY

    text = "Exported to GGUF: llama.cpp computes the same logits."
    return [Capability("gguf", text, dict.fromkeys(FAMILIES, VERIFIED_BY))]
