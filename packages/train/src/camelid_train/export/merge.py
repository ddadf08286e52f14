"""The merge task: base model + adapter in, plain model out, after a comparison of their logits.

Knows weights. Merging is computed in float32 and stored in the requested dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camelid_core.artefacts import Licences, Manifest, write_manifest
from camelid_core.errors import ModelError
from camelid_core.licences import combined as combined_licence
from camelid_core.models.devices import available_memory
from camelid_core.models.loading import load_base, load_tokenizer, load_with_adapter
from camelid_core.models.plugin_versions import plugin_notes
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.template_choice import template_of
from camelid_core.models.vocabulary import check_vocabulary
from camelid_core.models.weight_files import FLOAT32_BYTES, WeightFiles
from camelid_core.plugins import Host, load_host
from camelid_core.tasks import TaskContext
from camelid_core.template_contract import REFERENCE_CONVERSATION, make_contract
from camelid_core.tokenization.encoder import Encoder

from camelid_train.methods.qlora import check_installed, library_warnings_off
from camelid_train.methods.registry import method_of
from camelid_train.monitoring.stop_rules import raise_if_stop_requested
from camelid_train.saving.disk_space import removed_on_failure, require
from camelid_train.saving.model_card import write_card
from camelid_train.saving.published_prompting import write_older_rope_keys, write_prompting
from camelid_train.sections import read_method

from .layer_merge import TIED, ReportLayer, merge_by_layer, replaces_weights, why_whole
from .merge_base import with_merge_base
from .merge_config import MergeConfig
from .merge_plan import merge_estimate
from .stored_weights import GPTQ, stored_as

_TOLERANCE = 1e-3


def merge(config: MergeConfig, context: TaskContext) -> Mapping[str, Any]:
    """Write the merged model to `context.output`.

    Raises:
        Interrupted: a stop was requested; a merge keeps nothing, and starts again from the beginning.
        ModelError: no adapter, an adapter that changes nothing, or a merge that does not give the same logits.
        DiskFull: before anything is written.
    """
    context.emit("resume", step=0)
    host = load_host()
    adapters = [with_merge_base(config, each, host, context) for each in adapters_of(config, host)]
    for note in (note for each in adapters for note in plugin_notes(each, host)):
        context.emit("log", text=note)
    resolved = adapters[0]
    template = template_of(resolved, host)
    tokenizer = load_tokenizer(resolved)
    encoder = Encoder(tokenizer, template)
    check_vocabulary(encoder, resolved)
    require(context.directory, merge_estimate(config).size, "the merged model")
    with removed_on_failure(context.output):
        if _by_layer(config, adapters, context):
            metrics = merge_by_layer(adapters, config, context.output, _dtype(config, resolved), _report_to(context))
        else:
            metrics = _merge_whole(config, resolved, encoder, context)
        contract = resolved.manifest.template if resolved.manifest and resolved.manifest.template else None
        contract = contract or make_contract(template, tokenizer)
        write_prompting(context.output, resolved.base, resolved.config, encoder, contract.jinja)
        source = _joint_manifest(config, adapters)
        update = {"kind": "model", "template": contract, "metrics": {**source.metrics, **metrics}, "files": {}}
        update["parameters"] = {**source.parameters, "merge": config.model_dump(mode="json")}
        manifest = source.model_copy(update=update)
        write_older_rope_keys(context.output)
        write_card(context.output, manifest, host)
        write_manifest(context.output, manifest)
    return metrics


def adapters_of(config: MergeConfig, host: Host) -> list[ResolvedModel]:
    """The adapters to merge, all on one base.

    Raises:
        UnknownName, ModelError: there is none of that name, one is no adapter, or is on another base than the first.
    """
    found = [resolve_model(each.name, host) for each in config.adapters]
    for each in found:
        if each.adapter_dir is None:
            raise ModelError(f"{each.name!r} is a full model already; there is nothing to merge.")
        if each.base != found[0].base:
            raise ModelError(
                f"{each.name!r} is on {str(each.base)!r} and {found[0].name!r} on {str(found[0].base)!r}; adapters "
                "that are merged together need one base."
            )
    return found


def _by_layer(config: MergeConfig, adapters: Sequence[ResolvedModel], context: TaskContext) -> bool:
    """Whether to merge layer by layer; it is said why, or why not.

    Raises:
        ModelError: nothing else will do, and it cannot be done.
    """
    resolved = adapters[0]
    needed = FLOAT32_BYTES * WeightFiles(resolved.base).count
    free = available_memory()
    reason = next(filter(None, (_why_whole(config, each) for each in adapters)), "")
    only_so = _why_by_layer(config, resolved)
    if only_so or config.memory == "layer":
        if config.memory == "whole":
            raise ModelError(f"{only_so} is merged layer by layer only. Leave memory at auto.")
        if reason:
            advice = "" if only_so else " Leave memory at auto."
            raise ModelError(f"{config.adapter!r} cannot be merged layer by layer: {reason}.{advice}")
        return True
    if config.memory == "whole" or needed < free:
        return False
    if reason:
        text = f"The whole base is needed in memory, {needed:,} bytes, and {free:,} are free: {reason}."
    else:
        text = f"Merging layer by layer: the whole base needs {needed:,} bytes of memory, and {free:,} are free."
    context.emit("log", text=text)
    return not reason


def _why_whole(config: MergeConfig, resolved: ResolvedModel) -> str:
    """Why an adapter needs the base whole; empty where it does not."""
    if config.weights == "as-trained" and stored_as(resolved) != GPTQ:
        return "weights=as-trained needs the quantised base whole"
    if len(config.adapters) > 1 and replaces_weights(resolved):
        return f"{resolved.name!r} brings whole weights of its own (modules_to_save), which cannot be combined"
    return why_whole(resolved)


def _why_by_layer(config: MergeConfig, resolved: ResolvedModel) -> str:
    """What of this merge is done layer by layer only; empty for nothing."""
    if len(config.adapters) > 1 or config.adapters[0].weight != 1:
        return "several adapters, or one with a weight,"
    return "a dequantised GPTQ base" if stored_as(resolved) == GPTQ else ""


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


def _load_adapted(config: MergeConfig, resolved: ResolvedModel) -> Any:
    """Base and adapter in float32.

    Raises:
        ModelError: this kind of adapter cannot be merged.
    """
    base = None
    if stored_as(resolved):
        base = _dequantised(resolved)
    elif config.weights == "as-trained":
        section = read_method(resolved.manifest.parameters.get("method", {}) if resolved.manifest else {})
        base = method_of(section).load_as_trained(resolved, section)
    model = load_with_adapter(resolved, "float32", base)
    if model.active_peft_config.is_prompt_learning:
        raise ModelError(
            f"{config.adapter!r} is virtual tokens before the text ({model.active_peft_config.peft_type.lower()}), "
            'which no weight can hold: it cannot be merged. Load it with peft, or train with method.type="lora".'
        )
    return model


def _dequantised(resolved: ResolvedModel) -> Any:
    """A base that is stored quantised by bitsandbytes, in float32."""
    with library_warnings_off():
        check_installed("a base that is stored by bitsandbytes")
        model = load_base(resolved, "float32").dequantize()
    model._weight_conversions = None  # else saving would try to undo the quantisation that it was loaded with
    return model


def _joint_manifest(config: MergeConfig, adapters: Sequence[ResolvedModel]) -> Manifest:
    """The first adapter's manifest; of several with the data, the licences and the parameters of all."""
    source = adapters[0].manifest or Manifest(kind="adapter")
    if len(adapters) == 1:
        return source
    manifests = [each.manifest for each in adapters if each.manifest]
    datasets = {use.sha256: use for manifest in manifests for use in manifest.datasets}
    terms = sorted({term for each in adapters for term in each.generator})
    licences = Licences.of(combined_licence([each.licence for each in adapters]), list(datasets.values()), terms)
    parameters = {
        each.name: each.manifest.parameters if each.manifest else "unknown, it came without a manifest"
        for each in adapters
    }
    update = {"datasets": list(datasets.values()), "licences": licences, "metrics": {}}
    return source.model_copy(update={**update, "parameters": {"adapters": parameters}})


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
