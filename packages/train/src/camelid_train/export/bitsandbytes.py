"""Exporting to bitsandbytes: weights in 4 bits (NF4) or 8 bits (LLM.int8()), as Transformers stores and loads them.

Quantising needs no calibration. Format: huggingface.co/docs/transformers/quantization/bitsandbytes. Knows bitsandbytes'
configuration and sizes. Knows nothing of prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Literal

from camelid_core.models.loading import choose_device, load_base
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.vocabulary import is_table
from camelid_core.models.weight_files import WeightFiles

from camelid_train.config import ShardSize
from camelid_train.methods.qlora import check_installed, check_quantised, library_warnings_off
from camelid_train.sections import ExportSection

from .exporter import ExportContext, Exporter, ExportEstimate, ExportResult

_BLOCK = 64
"""Values that share a scale in NF4."""
_SCALE_BYTES = {True: 1.02, False: 4.0}
"""Bytes of a scale: double quantisation stores it in 8 bits, with its own scales for each 256."""


class BitsandbytesSection(ExportSection):
    """bitsandbytes: 4 or 8 bits without calibration, for Transformers."""

    type: Literal["bitsandbytes"] = "bitsandbytes"
    quantization: Literal["nf4", "int8"] = "nf4"
    """Quantisation: nf4 stores 4 bits per weight, int8 stores 8 with outliers apart. Also: `load_in_4bit`,
    `load_in_8bit`."""
    double: bool = True
    """Double quantisation: the scales of nf4 are quantised too. Also: `bnb_4bit_use_double_quant`."""
    compute: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Compute dtype: what nf4 weights are multiplied in. Also: `bnb_4bit_compute_dtype`."""
    shard: ShardSize = "4GB"
    """Maximum shard size: the largest weights file. Also: `max_shard_size`."""


class BitsandbytesExporter(Exporter[BitsandbytesSection]):
    name = "bitsandbytes"
    help = "4 or 8 bits without calibration, for Transformers."
    config = BitsandbytesSection
    kind = "model"

    def estimate(self, source: ResolvedModel, section: BitsandbytesSection) -> ExportEstimate:
        files = WeightFiles(source.base)
        size = sum(_bytes(files, name, section) for name in files.names)
        return ExportEstimate(size=size, memory=files.size + size)

    def export(self, source: ResolvedModel, section: BitsandbytesSection, context: ExportContext) -> ExportResult:
        with library_warnings_off():
            check_installed("exporting to bitsandbytes")
            context.progress(0, 2, "steps", "quantising")
            kept: Any = source.config.get("dtype") or source.config.get("torch_dtype") or "float32"
            model = load_base(source, kept, quantization_config=_settings(section), device_map={"": choose_device()})
            check_quantised(model, source.name)
            context.progress(1, 2, "steps", "writing")
            model.save_pretrained(context.output, max_shard_size=section.shard)
        context.progress(2, 2, "steps", "done")
        return ExportResult()

    def load_line(self, path: str, section: BitsandbytesSection) -> str:
        return f'AutoModelForCausalLM.from_pretrained("{path}")'

    def choices(self, source: ResolvedModel) -> Sequence[BitsandbytesSection]:
        return [BitsandbytesSection(), BitsandbytesSection(quantization="int8")]

    def suffix(self, section: BitsandbytesSection) -> str:
        return section.quantization


def _settings(section: BitsandbytesSection) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    if section.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=section.double,
        bnb_4bit_compute_dtype=getattr(torch, section.compute),
    )


def _bytes(files: WeightFiles, name: str, section: BitsandbytesSection) -> int:
    """What a tensor takes: matrices of layers are quantised; embeddings, head, norms and biases stay as they are."""
    shape, count = files.shape(name), files.values(name)
    if len(shape) != 2 or is_table(name):
        return files.torch_dtype(name).itemsize * count
    if section.quantization == "int8":
        return count + 4 * shape[0]
    return count // 2 + ceil(count / _BLOCK * _SCALE_BYTES[section.double])


BITSANDBYTES = BitsandbytesExporter()
