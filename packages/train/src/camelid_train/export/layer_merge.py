"""Merging layer by layer: an adapter folded into base weights that never are in memory together.

The model is built without its weights; each adapted layer gets its own from the base's files, is merged by PEFT, and is
written. In memory are the adapter and one layer, whatever the size of the base. Whole logits cannot be compared so;
instead every layer is asked before and after, with random inputs, and must answer the same.

Knows PEFT and files of weights. Knows no manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.integrity import safetensors_header
from camelid_core.models.loading import adapter_on, check_adapter, check_weight_files, config_of
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.vocabulary import ADAPTER_WEIGHTS, adapter_vocabulary, is_table, vocabulary_size

from .weight_files import ShardWriter, WeightFiles

_TOLERANCE = 1e-4
"""Of a layer's largest output; float32 leaves some 1e-6."""
_INPUTS = 8
TIED = (
    "Its base has one matrix for input embeddings and head (tie_word_embeddings), so an adapter on one of them cannot "
    "be folded in: it would change both. Train without lm_head and embed_tokens among method.targets, or serve base "
    "and adapter together."
)
ReportLayer = Callable[[int, int, str], None]
"""Called before each tensor with how many are done, how many there are, and its name."""


def why_whole(resolved: ResolvedModel) -> str:
    """Why this adapter can be merged with its base whole in memory only; empty where layers suffice."""
    from peft import PeftConfig, PeftType

    directory = _adapter_dir(resolved)
    config: Any = PeftConfig.from_pretrained(str(directory), local_files_only=True)
    if config.peft_type != PeftType.LORA:
        return f"it is of the kind {config.peft_type.value}"
    if adapter_vocabulary(directory) > vocabulary_size(replace(resolved, adapter_dir=None)):
        return "it has a grown vocabulary"
    saved = set(config.modules_to_save or ())
    if any(is_table(name) and name.split(".")[-2] not in saved for name in _tensors(directory)):
        return "it brings a table of embeddings"
    if getattr(config, "bias", "none") != "none":
        return f"it brings biases of the base (bias={config.bias!r})"
    for field in ("lora_bias", "trainable_token_indices", "target_parameters", "layer_replication"):
        if getattr(config, field, None):
            return f"it has {field}"
    return ""


def merge_by_layer(
    resolved: ResolvedModel, output: Path, dtype: Any, shard_bytes: int, report: ReportLayer
) -> Mapping[str, float]:
    """Write configuration and merged weights to `output`; returns how much the merged layers differ from base plus
    adapter, and how much the adapter changes them, both as parts of the layer's largest output.

    Raises:
        ModelError: an adapted layer is not in the base's files under its own name, the adapter changes nothing, or a
            merged layer answers otherwise.
    """
    check_weight_files(resolved.base)
    check_adapter(resolved)
    files = WeightFiles(resolved.base)
    config = config_of(resolved)
    model = _without_weights(config)
    adapted = adapter_on(model, resolved)
    _refuse_tied(adapted, model, config)
    layers, replaced = _adapted_layers(adapted, files), dict(_replacements(adapted, files))
    output.mkdir(parents=True)
    kept = {name: files.torch_dtype(name) for name in files.in_file_order}
    kept = {name: dtype if each.is_floating_point else each for name, each in kept.items()}
    difference = effect = 0.0
    coming = {name: (each, files.shape(name)) for name, each in kept.items()}
    with ShardWriter(output, "model", shard_bytes, coming) as writer:
        for done, name in enumerate(files.in_file_order):
            report(done, len(files.names), name)
            tensor = files.tensor(name)
            if name in layers:
                bias = name.removesuffix("weight") + "bias"
                tensor, off, change = _merged(layers[name], tensor, files.tensor(bias) if bias in files else None)
                _check_difference(name, off)
                difference, effect = max(difference, off), max(effect, change)
            elif name in replaced:
                tensor, effect = replaced[name], max(effect, 1.0)
            writer.add(name, tensor.to(kept[name]))
        if effect == 0.0:
            raise ModelError(f"adapter {resolved.name!r} changes nothing: every layer is as before. Was it trained?")
    config.dtype = dtype
    config.save_pretrained(output)
    return {"layer_difference": difference, "layer_effect": effect}


def _tensors(directory: Path) -> list[str]:
    path = directory / ADAPTER_WEIGHTS
    return [name for name in safetensors_header(path) if name != "__metadata__"] if path.is_file() else []


def _without_weights(config: Any) -> Any:
    """The model with parameters that take no memory: each is one zero, seen in the parameter's shape. On PyTorch's
    `meta` device PEFT would put the adapter there as well, and lose it."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, _weightless(parameter.shape))
    return model


def _weightless(shape: Any) -> Any:
    import torch

    return torch.nn.Parameter(torch.zeros((), dtype=torch.float32).expand(shape), requires_grad=False)


def _tuner_layers(adapted: Any) -> Iterator[tuple[str, Any]]:
    """Path and layer of everything that the adapter is on."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    modules = adapted.get_base_model().named_modules()
    return ((path, module) for path, module in modules if isinstance(module, BaseTunerLayer))


def _adapted_layers(adapted: Any, files: WeightFiles) -> dict[str, Any]:
    """Name of the weight in the base's files → the layer that the adapter is on."""
    return {_name_in(files, f"{path}.weight", adapted): layer for path, layer in _tuner_layers(adapted)}


def _replacements(adapted: Any, files: WeightFiles) -> Iterator[tuple[str, Any]]:
    """Weights that the adapter brings in place of the base's (`modules_to_save`)."""
    from peft.utils import ModulesToSaveWrapper

    for path, module in adapted.get_base_model().named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            for name, parameter in module.modules_to_save[module.active_adapters[0]].named_parameters():
                yield _name_in(files, f"{path}.{name}", adapted), parameter.detach()


def _name_in(files: WeightFiles, name: str, adapted: Any) -> str:
    """A parameter's name in the base's files, which may be those of the model without its head."""
    prefix = f"{adapted.get_base_model().base_model_prefix}."
    for candidate in (name, name.removeprefix(prefix), prefix + name):
        if candidate in files:
            return candidate
    raise ModelError(
        f"the base's files hold no {name!r} by that name, so its layers cannot be merged one by one. "
        'Merge with memory="whole".'
    )


def _refuse_tied(adapted: Any, model: Any, config: Any) -> None:
    if not getattr(config.get_text_config(), "tie_word_embeddings", False):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    for path, module in adapted.get_base_model().named_modules():
        if isinstance(module, BaseTunerLayer | ModulesToSaveWrapper) and module in ends:
            raise ModelError(f"the adapter is on {path!r}. {TIED}")


def _merged(layer: Any, weight: Any, bias: Any) -> tuple[Any, float, float]:
    """The merged weight; how far its outputs are from those of base plus adapter, and how far these are from the
    base's."""
    import torch

    base = layer.get_base_layer()
    empty = base.weight
    base.weight = torch.nn.Parameter(weight.float(), requires_grad=False)
    if bias is not None:
        base.bias = torch.nn.Parameter(bias.float(), requires_grad=False)
    inputs = _inputs(base)
    with torch.inference_mode():
        plain, beside = base(inputs), layer(inputs)
        layer.merge(safe_merge=True)
        scale = float(beside.abs().max()) or 1.0
        off = float((base(inputs) - beside).abs().max()) / scale
        change = float((beside - plain).abs().max()) / scale
        merged = base.weight.detach().clone()
    if bias is not None and not torch.equal(base.bias, bias.float()):
        raise ModelError("the adapter changes a bias, which merging layer by layer does not write.")
    base.weight = empty
    return merged, off, change


def _check_difference(name: str, off: float) -> None:
    if off > _TOLERANCE:
        raise ModelError(
            f"merged into {name!r}, the adapter answers otherwise than beside it: by {off:.2g} of its largest output "
            f"(allowed: {_TOLERANCE:g})."
        )


def _inputs(base: Any) -> Any:
    import torch

    generator = torch.Generator().manual_seed(0)
    if isinstance(base, torch.nn.Embedding):
        return torch.randint(base.num_embeddings, (_INPUTS,), generator=generator)
    width = getattr(base, "in_features", None) or base.weight.shape[0]  # Conv1D of GPT-2 has its inputs first
    return torch.randn(_INPUTS, width, generator=generator)


def _adapter_dir(resolved: ResolvedModel) -> Path:
    assert resolved.adapter_dir is not None
    return resolved.adapter_dir
