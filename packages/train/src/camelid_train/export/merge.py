"""The merge task: base model + adapter in, plain model out, after a comparison of their logits.

Knows weights. Merging is computed in float32 and stored in the requested dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camelid_core.artefacts import Manifest, write_manifest
from camelid_core.errors import ModelError
from camelid_core.models.devices import available_memory
from camelid_core.models.loading import load_tokenizer, load_with_adapter
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.template_choice import template_of
from camelid_core.plugins import load_host
from camelid_core.tasks import TaskContext
from camelid_core.template_contract import REFERENCE_CONVERSATION, make_contract
from camelid_core.tokenization.encoder import Encoder

from camelid_train.config import MergeConfig, byte_count
from camelid_train.methods.registry import method_of
from camelid_train.monitoring.stop_rules import raise_if_stop_requested
from camelid_train.saving.disk_space import removed_on_failure
from camelid_train.saving.model_card import write_card
from camelid_train.saving.published_prompting import write_older_rope_keys, write_prompting
from camelid_train.sections import read_method

from .layer_merge import TIED, ReportLayer, merge_by_layer, why_whole
from .weight_files import FLOAT32_BYTES, WeightFiles

_TOLERANCE = 1e-3


def merge(config: MergeConfig, context: TaskContext) -> Mapping[str, Any]:
    """Write the merged model to `context.output`.

    Raises:
        Interrupted: a stop was requested; a merge keeps nothing, and starts again from the beginning.
        ModelError: no adapter, an adapter that changes nothing, or a merge that does not give the same logits.
    """
    context.emit("resume", step=0)
    host = load_host()
    resolved = resolve_model(config.adapter, host)
    if resolved.adapter_dir is None:
        raise ModelError(f"{config.adapter!r} is a full model already; there is nothing to merge.")
    template = template_of(resolved, host)
    tokenizer = load_tokenizer(resolved)
    encoder = Encoder(tokenizer, template)
    _refuse_quantised(config, resolved)
    with removed_on_failure(context.output):
        if _by_layer(config, resolved, context):
            metrics = merge_by_layer(
                resolved, context.output, _dtype(config, resolved), byte_count(config.shard), _report_to(context)
            )
        else:
            metrics = _merge_whole(config, resolved, encoder, context)
        contract = resolved.manifest.template if resolved.manifest and resolved.manifest.template else None
        contract = contract or make_contract(template, tokenizer)
        write_prompting(context.output, resolved.base, resolved.config, encoder, contract.jinja)
        source = resolved.manifest or Manifest(kind="adapter")
        update = {"kind": "model", "template": contract, "metrics": {**source.metrics, **metrics}, "files": {}}
        update["parameters"] = {**source.parameters, "merge": config.model_dump(mode="json")}
        manifest = source.model_copy(update=update)
        write_older_rope_keys(context.output)
        write_card(context.output, manifest, host)
        write_manifest(context.output, manifest)
    return metrics


def _by_layer(config: MergeConfig, resolved: ResolvedModel, context: TaskContext) -> bool:
    """Whether to merge layer by layer; it is said why, or why not.

    Raises:
        ModelError: it was asked for, and cannot be done.
    """
    if config.memory == "whole":
        return False
    needed = FLOAT32_BYTES * WeightFiles(resolved.base).count
    free = available_memory()
    quantised = "weights=as-trained needs the quantised base whole"
    reason = quantised if config.weights == "as-trained" else why_whole(resolved)
    if config.memory == "layer":
        if reason:
            raise ModelError(f"{config.adapter!r} cannot be merged layer by layer: {reason}. Leave memory at auto.")
        return True
    if needed < free:
        return False
    if reason:
        text = f"The whole base is needed in memory, {needed:,} bytes, and {free:,} are free: {reason}."
    else:
        text = f"Merging layer by layer: the whole base needs {needed:,} bytes of memory, and {free:,} are free."
    context.emit("log", text=text)
    return not reason


def _report_to(context: TaskContext) -> ReportLayer:
    def report(done: int, total: int, what: str) -> None:
        raise_if_stop_requested(context)
        context.emit("progress", done=done, total=total, unit="tensors", what=what)

    return report


def _merge_whole(
    config: MergeConfig, resolved: ResolvedModel, encoder: Encoder, context: TaskContext
) -> Mapping[str, float]:
    """Write configuration and weights of the merged model, which is in memory as a whole."""
    _begin_step(context, 0, "loading base and adapter")
    model = _load_adapted(config, resolved)
    _begin_step(context, 1, "merging")
    merged, metrics = _merge_and_compare(model, encoder.prompt_ids(REFERENCE_CONVERSATION), config.adapter)
    _begin_step(context, 2, "writing")
    merged.to(_dtype(config, resolved)).save_pretrained(context.output, max_shard_size=config.shard)
    _emit_progress(context, 3, "done")
    return metrics


def _merge_and_compare(model: Any, prompt: Sequence[int], adapter: str) -> tuple[Any, dict[str, float]]:
    """The merged model, and as metrics how much its logits differ from base + adapter, and these from the base alone.

    Raises:
        ModelError: the first differ too much, or the second not at all.
    """
    import torch

    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        adapted = model(input_ids=ids).logits
        with model.disable_adapter():
            change = float((adapted - model(input_ids=ids).logits).abs().max())
    if change == 0.0:
        raise ModelError(f"adapter {adapter!r} changes nothing: its logits equal the base's. Was it trained?")
    merged = model.merge_and_unload(safe_merge=True)
    with torch.inference_mode():
        difference = float((merged(input_ids=ids).logits - adapted).abs().max())
    if difference > _TOLERANCE:
        raise ModelError(
            f"the merged model differs from base + adapter by {difference:.2g} (allowed: {_TOLERANCE:g}).{_why(merged)}"
        )
    return merged, {"logit_difference": difference, "adapter_effect": change}


def _why(model: Any) -> str:
    """The usual reason why a merged model differs."""
    if not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return ""
    return f" {TIED}"


def _refuse_quantised(config: MergeConfig, resolved: ResolvedModel) -> None:
    stored = (resolved.config.get("quantization_config") or {}).get("quant_method")
    if stored:
        raise ModelError(
            f"the base of {config.adapter!r} is stored quantised ({stored}), and adapters cannot be folded into that. "
            "Serve base and adapter together, or train on the plain model."
        )


def _load_adapted(config: MergeConfig, resolved: ResolvedModel) -> Any:
    """Base and adapter in float32.

    Raises:
        ModelError: this kind of adapter cannot be merged.
    """
    base = None
    if config.weights == "as-trained":
        section = read_method(resolved.manifest.parameters.get("method", {}) if resolved.manifest else {})
        base = method_of(section).load_as_trained(resolved, section)
    model = load_with_adapter(resolved, "float32", base)
    if model.active_peft_config.is_prompt_learning:
        raise ModelError(
            f"{config.adapter!r} is virtual tokens before the text ({model.active_peft_config.peft_type.lower()}), "
            'which no weight can hold: it cannot be merged. Load it with peft, or train with method.type="lora".'
        )
    return model


def _dtype(config: MergeConfig, resolved: ResolvedModel) -> Any:
    import torch

    name = (
        config.dtype if config.dtype != "auto" else resolved.config.get("dtype") or resolved.config.get("torch_dtype")
    )
    return getattr(torch, name or "float32")


def _begin_step(context: TaskContext, done: int, what: str) -> None:
    raise_if_stop_requested(context)
    _emit_progress(context, done, what)


def _emit_progress(context: TaskContext, done: int, what: str) -> None:
    context.emit("progress", done=done, total=3, unit="steps", what=what)
