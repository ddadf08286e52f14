"""Exporting a GGUF file to Transformers: its weights as plain numbers, to train on or to export otherwise.

What quantisation took does not come back. Knows which file Transformers reads, and how. Knows no format.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from camelid_core.errors import ModelError
from camelid_core.models.gguf import check_gguf, gguf_metadata
from camelid_core.models.resolved_model import ResolvedModel
from camelid_train.config import ShardSize
from camelid_train.export.exporter import ExportContext, Exporter, ExportEstimate, ExportResult
from camelid_train.sections import ExportSection

from .metadata import corrections, family_of, settings

_FLOAT32_BYTES = 4


class TransformersSection(ExportSection):
    """Transformers: a GGUF file as a plain model, with its weights dequantised."""

    type: Literal["transformers"] = "transformers"
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Dtype of the weights that are written."""
    shard: ShardSize = "4GB"
    """Maximum shard size: the largest weights file. Also: `max_shard_size`."""


class TransformersExporter(Exporter[TransformersSection]):
    name = "transformers"
    help = "A GGUF file as a plain model of Transformers."
    config = TransformersSection
    kind = "model"
    gguf = True

    def estimate(self, source: ResolvedModel, section: TransformersSection) -> ExportEstimate:
        if "split.count" in gguf_metadata(source.base):
            refusal = "it is in several parts; join them first: llama-gguf-split --merge FIRST.gguf WHOLE.gguf."
            return ExportEstimate(size=0, memory=0, refusal=refusal)
        numbers = _numbers(source.base)
        width = 4 if section.dtype == "float32" else 2
        return ExportEstimate(size=numbers * width, memory=numbers * (_FLOAT32_BYTES + width))

    def export(self, source: ResolvedModel, section: TransformersSection, context: ExportContext) -> ExportResult:
        context.progress(0, 2, "steps", "reading")
        model = _load(source, section.dtype)
        context.progress(1, 2, "steps", "writing")
        model.save_pretrained(context.output, max_shard_size=section.shard)
        context.progress(2, 2, "steps", "done")
        return ExportResult()

    def load_line(self, path: str, section: TransformersSection) -> str:
        return f'AutoModelForCausalLM.from_pretrained("{path}")'


def _numbers(file: Path) -> int:
    check_gguf(file)
    import gguf

    return int(sum(tensor.n_elements for tensor in gguf.GGUFReader(file).tensors))


def _load(source: ResolvedModel, dtype: str) -> Any:
    check_gguf(source.base)
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    file = {"gguf_file": source.base.name, "local_files_only": True}
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            source.base.parent,
            config=_config(source.base),
            quantization_config=GgufConfig(dequantize=True),
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            **file,
        )
    except (ValueError, KeyError, RuntimeError, NotImplementedError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"Transformers cannot read {str(source.base)!r}: {reason}") from error
    if wrong := sorted({*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}):
        raise ModelError(
            f"Transformers reads {wrong[0]!r} of {str(source.base)!r} as missing or of another shape "
            f"({len(wrong):,} such tensors); they would be random numbers."
        )
    return model


def _config(file: Path) -> Any:
    """The configuration that Transformers reads from the file, with what it leaves out put in from the file.

    Raises:
        ModelError: a family that is not known here, or a setting that Transformers reads otherwise.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    values = gguf_metadata(file)
    for key, value in corrections(config.to_dict(), values).items():
        setattr(config, key, value)
    complete = config.to_dict()
    read = settings(complete, family_of(complete))
    for key, value in read.items():
        there = values.get(key, value)
        if there != value and (isinstance(value, str) or not math.isclose(there, value, rel_tol=1e-5)):
            raise ModelError(f"Transformers reads {key!r} of {str(file)!r} as {value!r}, and the file says {there!r}.")
    if scaled := [key for key in values if ".rope.scaling." in key and key not in read]:
        raise ModelError(f"{str(file)!r} has scaled rotary positions ({scaled[0]}), which Transformers does not read.")
    return config


TRANSFORMERS = TransformersExporter()
