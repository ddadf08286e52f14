"""Merging layer by layer: adapters folded into base weights that never are in memory together.

The model is built without its weights; each adapted layer gets its own from the base's files, is merged by PEFT, and is
written. In memory are the adapters and one layer, whatever the size of the base. Whole logits cannot be compared so;
instead every layer is asked before and after, with random inputs, and must answer the same. Of several adapters each is
merged into the layer by itself, and what they changed is combined: DoRA goes with rsLoRA, and ranks may differ.

Knows PEFT and files of weights. Knows no manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.integrity import safetensors_header
from camelid_core.models.loading import adapter_on, add_adapter, check_adapter, check_weight_files, config_of
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.vocabulary import ADAPTER_WEIGHTS, adapter_vocabulary, is_table, vocabulary_size
from camelid_core.models.weight_files import ShardWriter, WeightFiles

from camelid_train.config import byte_count

from .combination import combined
from .gptq_weights import GptqWeightFiles
from .merge_config import MergeConfig, WeightedAdapter
from .row_merge import is_plain_lora, merge_rows

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


def replaces_weights(resolved: ResolvedModel) -> bool:
    """Whether an adapter brings weights in place of the base's (`modules_to_save`)."""
    from peft import PeftConfig

    config: Any = PeftConfig.from_pretrained(str(_adapter_dir(resolved)), local_files_only=True)
    return bool(getattr(config, "modules_to_save", None))


def merge_by_layer(
    adapters: Sequence[ResolvedModel], settings: MergeConfig, output: Path, dtype: Any, report: ReportLayer
) -> Mapping[str, float]:
    """Write configuration and merged weights to `output`; returns how much the merged layers differ from base plus
    adapter, and how much the adapters change them, both as parts of the layer's largest output.

    `adapters` are all on one base, in the order of `settings.adapters`.

    Raises:
        ModelError: an adapted layer is not in the base's files under its own name, an adapter changes nothing, or a
            merged layer answers otherwise.
    """
    resolved = adapters[0]
    check_weight_files(resolved.base)
    for each in adapters:
        check_adapter(each)
    config = config_of(resolved)
    quantised = resolved.config.get("quantization_config")
    if quantised:
        del config.quantization_config  # what is written is plain
    model = _without_weights(config)
    parameters = [name for name, _ in model.named_parameters()]
    files = GptqWeightFiles(resolved.base, quantised, parameters) if quantised else WeightFiles(resolved.base)
    adapted = adapter_on(model, resolved)
    for number, each in enumerate(adapters[1:], 1):
        add_adapter(adapted, each, f"adapter_{number}")  # a number alone would be taken for that of a layer
    _refuse_tied(adapted, model, config)
    parts = [_Part(label, each) for label, each in zip(adapted.peft_config, settings.adapters, strict=True)]
    layers, replaced = _adapted_layers(adapted, files), dict(_replacements(adapted, files))
    output.mkdir(parents=True)
    kept = {name: files.torch_dtype(name) for name in files.in_file_order}
    kept = {name: dtype if each.is_floating_point else each for name, each in kept.items()}
    difference = 0.0
    coming = {name: (each, files.shape(name)) for name, each in kept.items()}
    with ShardWriter(output, "model", byte_count(settings.shard), coming) as writer:
        for done, name in enumerate(files.in_file_order):
            report(done, len(files.names), name)
            tensor = files.tensor(name)
            if name in layers:
                bias = name.removesuffix("weight") + "bias"
                layer = _Layer(name, layers[name], tensor, files.tensor(bias) if bias in files else None)
                tensor, off = _merged(layer, parts, settings, kept[name])
                difference = max(difference, off)
            elif name in replaced:
                tensor, parts[0].effect = replaced[name], max(parts[0].effect, 1.0)
            writer.add(name, tensor.to(kept[name]))
        for part in parts:
            if part.effect == 0.0:
                raise ModelError(
                    f"adapter {part.adapter.name!r} changes nothing: every layer is as before. Was it trained?"
                )
    config.dtype = dtype
    config.save_pretrained(output)
    return {"layer_difference": difference, "layer_effect": max(part.effect for part in parts)}


@dataclass(slots=True)
class _Part:
    """An adapter, what PEFT calls it, and the most it changed a layer by so far."""

    label: str
    adapter: WeightedAdapter
    effect: float = 0.0


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer of the base with adapters on it, and its own weight and bias out of the files."""

    name: str
    module: Any
    weight: Any
    bias: Any


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


def _merged(layer: _Layer, parts: Sequence[_Part], settings: MergeConfig, dtype: Any) -> tuple[Any, float]:
    """The merged weight, and how far a layer's outputs with one adapter merged are from those with it beside."""
    on_layer = [part for part in parts if part.label in _adapters_on(layer.module)]
    alone = len(parts) == 1 and parts[0].adapter.weight == 1
    merged, difference = [], 0.0
    for part in on_layer:
        if alone and is_plain_lora(layer.module, part.label):
            inputs = _inputs(layer.module.get_base_layer())
            weight, off, change = merge_rows(layer.module, part.label, layer.weight, inputs, dtype)
        else:
            weight, off, change = _merged_alone(layer, part.label)
        _check_difference(layer.name, off)
        difference, part.effect = max(difference, off), max(part.effect, change)
        merged.append(weight)
    if alone:
        return merged[0], difference
    plain = layer.weight.float()
    changes = [weight.sub_(plain) for weight in merged]
    return plain + combined(changes, [part.adapter.weight for part in on_layer], settings, layer.name), difference


def _merged_alone(layer: _Layer, label: str) -> tuple[Any, float, float]:
    """The weight with one adapter merged; how far its outputs are from those of base plus adapter, and how far these
    are from the base's."""
    import torch

    module, bias = layer.module, layer.bias
    base = module.get_base_layer()
    empty, no_bias = base.weight, getattr(base, "bias", None)
    base.weight = torch.nn.Parameter(layer.weight.float(), requires_grad=False)
    if bias is not None:
        base.bias = torch.nn.Parameter(bias.float(), requires_grad=False)
    inputs = _inputs(base)
    module.set_adapter(label)
    with torch.no_grad():
        plain, beside = base(inputs), module(inputs)
        module.merge(safe_merge=True)
        scale = float(beside.abs().max()) or 1.0
        off = float((base(inputs) - beside).abs().max()) / scale
        change = float((beside - plain).abs().max()) / scale
        merged = base.weight.detach().clone()
    if bias is not None and not torch.equal(base.bias, bias.float()):
        raise ModelError("the adapter changes a bias, which merging layer by layer does not write.")
    module.merged_adapters.clear()  # the layer is as it was, for the next adapter
    base.weight = empty
    if bias is not None:
        base.bias = no_bias
    return merged, off, change


def _adapters_on(module: Any) -> set[str]:
    """The adapters that have parameters on a layer, by what PEFT calls them."""
    return {key for name in module.adapter_layer_names for key in getattr(module, name)}


def _check_difference(name: str, off: float) -> None:
    if not off <= _TOLERANCE:  # also where it is not a number
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
