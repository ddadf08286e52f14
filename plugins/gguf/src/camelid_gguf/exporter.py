"""Exporting to GGUF: the file, and the tokenizer and template beside it.

Knows the order of the work and what people are told. Knows no format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.gguf import IMATRIX_SUFFIX
from camelid_core.models.loading import load_base
from camelid_core.models.resolved_model import ResolvedModel
from camelid_train.config import byte_count, plain_name
from camelid_train.export.calibration_data import calibration_data
from camelid_train.export.exporter import ExportContext, Exporter, ExportEstimate, ExportResult

from . import importances, metadata
from .importances import ImportanceMatrix
from .mixtures import MIXTURES
from .model_file import ModelFile, plan
from .section import GgufSection, Quantization
from .vocabulary import BYTES_IN_TOKENS, vocabulary_of

_FLOAT32_BYTES = 4
_OFFERED: tuple[Quantization, ...] = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "q3_k_m")
"""What a page offers: those that people ask for. The others are typed."""
_TOKEN_BYTES = 16
"""A token's length, type, and score or share of the merges' lengths."""


class GgufExporter(Exporter[GgufSection]):
    name = "gguf"
    help = "One file for llama.cpp and the programs made with it."
    config = GgufSection
    kind = "gguf"

    def estimate(self, source: ResolvedModel, section: GgufSection) -> ExportEstimate:
        try:
            file = _plan(source, section)
        except ModelError as error:
            return ExportEstimate(size=0, memory=0, refusal=str(error))
        memory = 3 * _FLOAT32_BYTES * file.largest
        if section.calibration:
            memory += _FLOAT32_BYTES * file.numbers
        return ExportEstimate(size=file.size + _vocabulary_bytes(source.base), memory=memory)

    def export(self, source: ResolvedModel, section: GgufSection, context: ExportContext) -> ExportResult:
        file = _plan(source, section)
        about = _description(source, section, file, context)
        stem = plain_name(Path(source.name).name, "model").lower()
        matrix, parameters = _importances(source, section, file, context, stem)
        if file.fallbacks:
            context.say(_fallback_note(file))
        file.write(
            context.output / f"{stem}-{section.quantization}.gguf",
            about | (matrix.metadata(parameters["imatrix_file"]) if matrix else {}),
            byte_count(section.split) if section.split else 0,
            matrix.importances if matrix else None,
            report=lambda done, tensor: context.progress(done, file.size, "bytes", tensor or "done"),
        )
        return ExportResult(parameters=parameters)

    def load_line(self, path: str, section: GgufSection) -> str:
        files = sorted(Path(path).glob("*.gguf"))  # a model in several parts is named by its first
        file = files[0] if files else Path(path) / "*.gguf"
        return f"camelid chat {path}    # or: llama-cli -m {file}"

    def choices(self, source: ResolvedModel) -> Sequence[GgufSection]:
        return [GgufSection(quantization=each) for each in _OFFERED]

    def suffix(self, section: GgufSection) -> str:
        return section.quantization


def _plan(source: ResolvedModel, section: GgufSection) -> ModelFile:
    if MIXTURES[section.quantization].needs_importances and not section.weighted:
        raise ModelError(
            f"{section.quantization} is garbage without an importance matrix; give calibration or imatrix."
        )
    return plan(source, section.quantization, section.weighted)


def _description(
    source: ResolvedModel, section: GgufSection, file: ModelFile, context: ExportContext
) -> dict[str, Any]:
    """The metadata beside the model's own settings; what llama.cpp cannot be told is said."""
    from .pre_tokenizers import different, pre_tokenizer_of

    tokenizer, scratch = context.encoder.tokenizer, context.output / ".vocabulary.gguf"
    vocabulary = vocabulary_of(tokenizer, file.layout.vocabulary, context.encoder.stop_ids)
    pre = pre_tokenizer_of(tokenizer, vocabulary, scratch)
    notes = [*metadata.notes(file.config, metadata.family_of(file.config)), *vocabulary.notes]
    if vocabulary.kind != BYTES_IN_TOKENS and (texts := different(tokenizer, vocabulary, pre, scratch)):
        notes.append(
            f"llama.cpp cuts {len(texts)} of the check texts otherwise than its tokenizer, such as {texts[0]!r}; "
            "Camelid uses the tokenizer.json beside the file."
        )
    for note in notes:
        context.say(note)
    name = Path(source.name).name
    return metadata.description(name, source.licence, section.quantization, vocabulary, pre, context.contract.jinja)


def _importances(
    source: ResolvedModel, section: GgufSection, file: ModelFile, context: ExportContext, stem: str
) -> tuple[ImportanceMatrix | None, dict[str, Any]]:
    """The importance matrix, read or computed, and what the manifest keeps of it. One that was computed is written
    beside the model."""
    from .calibration import MAX_TOKENS, calibration_rows

    if section.imatrix:
        path = Path(section.imatrix)
        matrix = importances.read(path, file.weighted)
        if missing := len(file.weighted) - len(matrix.sums):
            context.say(f"{path.name!r} has nothing on {missing:,} tensors; their columns are alike.")
        return matrix, {"imatrix_file": path.name}
    if not section.calibration:
        return None, {}
    data = calibration_data(source, section.calibration, context.host, context.say)
    rows = calibration_rows(data, section.calibration_rows, context.encoder)
    matrix = importances.computed(
        load_base(source),
        {planned.source.removesuffix(".weight"): name for name, planned in file.weighted.items()},
        rows.rows,
        rows.sources,
        lambda done: context.progress(done, len(rows.rows), "rows", "importance matrix"),
    )
    name = f"{stem}-{IMATRIX_SUFFIX}"
    matrix.write(context.output / name, file.architecture, MAX_TOKENS)
    return matrix, {"imatrix_file": name, "calibration_data": dict(rows.account)}


def _fallback_note(file: ModelFile) -> str:
    names = file.fallbacks
    kinds = sorted({file.entries[name].number_format for name in names})
    return (
        f"{len(names):,} of {len(file.entries):,} tensors have rows that do not divide into blocks of the format "
        f"{MIXTURES[file.mixture].most}; they are stored as {', '.join(kinds)}, as llama.cpp does."
    )


def _vocabulary_bytes(directory: Path) -> int:
    """About what the vocabulary takes: its tokens and merges, each with its length."""
    path = directory / "tokenizer.json"
    model = json.loads(path.read_text(encoding="utf-8")).get("model", {}) if path.is_file() else {}
    words = model.get("vocab") or {}
    merges = model.get("merges") or ()
    texts = sum(len(word.encode()) + _TOKEN_BYTES for word in words)
    return texts + sum(8 + sum(len(part.encode()) for part in merge) + 1 for merge in merges)


GGUF = GgufExporter()
