"""The prove task: an export compared with its source, the verdict, and its record in the export.

Knows the order of things. Knows nothing of how anything is measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from camelid_core.artefacts import write_manifest
from camelid_core.errors import CamelidError, DataError
from camelid_core.integrity import fingerprint
from camelid_core.models.loading import choose_dtype
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.rope import context_length
from camelid_core.plugins import Host, load_host
from camelid_core.records import Message
from camelid_core.tasks import TaskContext
from camelid_core.template_contract import make_contract
from camelid_core.tokenization.encoder import Encoder

from camelid_serve.config import DEFAULT_ENGINE, EngineConfig
from camelid_serve.evaluations.parity import PROMPTS
from camelid_serve.loaded_models import engine_for, load_encoder, stops_of
from camelid_serve.provenance import result_manifest, weights_identity, with_all_models

from . import results as words
from .comparison import Comparison, ComparisonRun, Material
from .format_limits import Limits, limits_of, verdict
from .formats import estimated_size, format_of, size_of, weights_size
from .held_out import HeldOutText, held_out_text
from .proof_config import ProofConfig
from .record import PROOF, record, recording_place, with_manifest
from .shown_names import shown_name
from .template_equality import TemplateComparison, compare_templates
from .tokenized_texts import tokenized_texts

TABLE = "proof.md"
_SAMPLES = 3
_LONGEST = 1 << 20
"""Context length of models that name none, in tokens."""


def run(config: ProofConfig, context: TaskContext) -> Mapping[str, Any]:
    """Compare, write results, table and manifest to `context.output`, and record them in the export.

    Raises:
        UnknownName, ModelError, ArtefactError: a model that cannot be used.
        DataError: no text to compare on.
        DiskFull: the source's scores do not fit.
        Interrupted: asked to save; what was compared is kept for the next attempt.
    """
    host = load_host()
    source, export = (with_manifest(resolve_model(name, host)) for name in (config.source, config.export))
    place = recording_place(export, config.record)
    limits = limits_of(format_of(export), config.limits)
    text = held_out_text(config.data, config.rows, source, export, host)
    encoder, other = load_encoder(source, host, config.template), load_encoder(export, host, "")
    template = compare_templates(encoder, other)
    material, notes = _material(config, text, encoder, source, export)
    for note in (*text.notes, *notes, *text.details):
        context.emit("log", text=note)
    measurement = ComparisonRun(config, material, _identity(config, source, export, material), host, context)
    comparison = measurement.run(source, export)
    if len(comparison.texts) < 2:
        raise DataError("the proof was asked to finish before two texts were compared.")
    found = {
        **_measured(config, comparison, template, limits),
        "text": _text_json(text, notes, comparison),
        "source": words.side_json(comparison.source, **_facts(source, config.source_engine_config, host)),
        "export": words.side_json(comparison.export, **_facts(export, config.export_engine_config, host)),
        "samples": words.samples(
            PROMPTS[:_SAMPLES], comparison.source.samples, comparison.export.samples, encoder.decode
        ),
    }
    metrics = words.metrics(found)
    _write(config, context, found, metrics, source, export, text, encoder)
    recorded = place is not None and _recorded(context, place, found, metrics)
    return {**metrics, "sentence": words.sentence(found), "recorded": str(place) if recorded else ""}


def _material(
    config: ProofConfig, text: HeldOutText, encoder: Encoder, source: ResolvedModel, export: ResolvedModel
) -> tuple[Material, list[str]]:
    longest = min(context_length(each.config) or _LONGEST for each in (source, export))
    texts, notes = tokenized_texts(encoder, text.records, min(config.cutoff, longest - 1))
    if len(texts) < 2:
        raise DataError(
            f"{text.name} has {len(texts)} texts of which tokens can be compared, and a proof takes two or more. "
            f"{' '.join(notes)}"
        )
    prompts = [encoder.prompt_ids([Message("user", prompt)]) for prompt in PROMPTS[:_SAMPLES]]
    stops, _ = stops_of(source, encoder)
    return Material(texts, prompts, stops), notes


def _identity(config: ProofConfig, source: ResolvedModel, export: ResolvedModel, material: Material) -> str:
    """Digest of settings, weights and texts: numbers of an earlier attempt are taken only where it is the same."""
    settings = config.model_dump(exclude={"output", "record", "limits", "sample_tokens"}, mode="json")
    ids = [[list(text.ids), list(text.counted)] for text in material.texts]
    told = [settings, weights_identity(source), weights_identity(export), ids]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _measured(
    config: ProofConfig, comparison: Comparison, template: TemplateComparison, limits: Limits
) -> dict[str, Any]:
    estimates = words.estimates(comparison.texts)
    divergence, equal, log_ratio = (estimates[name] for name in ("divergence", "top_equal", "log_ratio"))
    assert divergence is not None
    assert equal is not None
    checks = verdict(limits, divergence, equal, log_ratio, template.equal)
    failed = [check.name for check in checks if check.passed is False]
    largest = max(text.largest for text in comparison.texts)
    kind = words.divergence_kind(comparison, config.top)
    return {
        "evaluation": "proof",
        "passed": not failed,
        "failed": failed,
        "limits": {"format": limits.format, "reason": limits.reason, "checks": words.checks_json(checks)},
        "divergence": {**divergence.as_json(), "max": largest, "of": kind},
        "top_equal": equal.as_json(),
        "perplexity": {
            "source": words.exponential(estimates["source_loss"]),
            "export": words.exponential(estimates["loss"]),
        },
        "perplexity_ratio": words.exponential(log_ratio),
        "template": template.as_json(),
    }


def _text_json(text: HeldOutText, notes: list[str], comparison: Comparison) -> dict[str, Any]:
    return {
        "name": text.name,
        "n_texts": len(comparison.texts),
        "n_tokens": sum(each.tokens for each in comparison.texts),
        "calibration_rows_left_out": text.calibration_rows,
        "notes": [*text.notes, *notes],
    }


def _facts(model: ResolvedModel, config: EngineConfig, host: Host) -> dict[str, Any]:
    engine = engine_for(config.engine, model, host).name
    dtype = str(choose_dtype(config.dtype)).removeprefix("torch.") if engine == DEFAULT_ENGINE.engine else config.dtype
    return {
        "name": shown_name(model.name),
        "base": shown_name(model.base_id),
        "fingerprint": _fingerprint(model),
        "format": format_of(model),
        "engine": engine,
        "dtype": dtype,
        "size": size_of(model),
        "weights_size": weights_size(model),
        "estimated_size": estimated_size(model.manifest),
    }


def _fingerprint(model: ResolvedModel) -> str:
    """That of a whole model; of an adapter one of its files and its base together."""
    if model.adapter_dir is None:
        return fingerprint(model.base)
    return hashlib.sha256("\n".join(weights_identity(model)).encode()).hexdigest()


def _write(
    config: ProofConfig,
    context: TaskContext,
    found: Mapping[str, Any],
    metrics: Mapping[str, Any],
    source: ResolvedModel,
    export: ResolvedModel,
    text: HeldOutText,
    encoder: Encoder,
) -> None:
    context.output.mkdir(parents=True, exist_ok=True)
    (context.output / PROOF).write_text(_json(found), encoding="utf-8")
    (context.output / TABLE).write_text(words.markdown(found), encoding="utf-8")
    contract = make_contract(encoder.template, encoder.tokenizer)
    manifest = result_manifest("evaluation", source, config, {"proof": dict(metrics)}, [text.use()], contract)
    write_manifest(context.output, with_all_models(manifest, {"source": source, "export": export}))


def _recorded(context: TaskContext, place: Any, found: Mapping[str, Any], metrics: Mapping[str, Any]) -> bool:
    """Whether the export has the proof now. The result stands by itself where it could not be written there."""
    try:
        record(place, _json(found), metrics, words.markdown(found))
    except (OSError, CamelidError) as error:
        context.emit("log", text=f"The proof could not be recorded in {str(place)!r}: {error}")
        return False
    return True


def _json(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
