"""Exporting a LoRA adapter to GGUF, unmerged: a small file beside the base model's.

Knows the settings and what people are told. Knows no format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from camelid_core.errors import ModelError
from camelid_core.models.loading import check_adapter
from camelid_core.models.resolved_model import ResolvedModel
from camelid_train.config import plain_name
from camelid_train.export.exporter import ExportContext, Exporter, ExportEstimate, ExportResult
from camelid_train.sections import ExportSection

from .adapter_file import AdapterFile

_FLOAT32_BYTES = 4


class GgufLoraSection(ExportSection):
    """GGUF adapter: LoRA unmerged, for llama.cpp with the base model's file."""

    type: Literal["gguf-lora"] = "gguf-lora"
    quantization: Literal["f32", "bf16", "f16"] = "f32"
    """Number format of the adapter's matrices. Also: `outtype`."""


class GgufLoraExporter(Exporter[GgufLoraSection]):
    name = "gguf-lora"
    help = "LoRA unmerged, for llama.cpp with the base model's file."
    config = GgufLoraSection
    kind = "gguf"
    whole = False
    prompting = False

    def estimate(self, source: ResolvedModel, section: GgufLoraSection) -> ExportEstimate:
        try:
            file = AdapterFile(source, section.quantization)
        except ModelError as error:
            return ExportEstimate(size=0, memory=0, refusal=str(error))
        return ExportEstimate(size=file.size, memory=_FLOAT32_BYTES * file.size)

    def export(self, source: ResolvedModel, section: GgufLoraSection, context: ExportContext) -> ExportResult:
        check_adapter(source)
        file = AdapterFile(source, section.quantization)
        context.progress(0, len(file.pairs), "layers", "writing")
        name = Path(source.name).name
        stem = plain_name(name, "adapter").lower()
        file.write(context.output / f"{stem}-lora-{section.quantization}.gguf", name, source.licence)
        context.progress(len(file.pairs), len(file.pairs), "layers", "done")
        return ExportResult(parameters={"layers": len(file.pairs)})

    def load_line(self, path: str, section: GgufLoraSection) -> str:
        file = next(iter(sorted(Path(path).glob("*.gguf"))), Path(path) / "*.gguf")
        return f"llama-cli -m BASE.gguf --lora {file}"


GGUF_LORA = GgufLoraExporter()
