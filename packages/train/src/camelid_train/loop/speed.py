"""What makes the loop fast on this machine, decided in one place.

Knows devices, number formats and which packages are there. Knows nothing of data or of artefacts.

- Products are made in the number format that the device multiplies natively; what learns is float32. An adapter's
  parameters are few and turned into their base's format for each product (`methods.low_rank`). Full fine-tuning keeps
  float32 weights and makes its products under autocast. float16 has no room for small gradients: they are scaled.
- No attention mask: rows are padded on the right and attention is causal, so none is needed, and attention without a
  mask is the fastest there is (`batching`, `loss`). Where a kernel for rows of different lengths is there, the
  padding goes too (`packing`).
- AdamW in one kernel for all parameters is the Trainer's default. On CUDA, Liger's kernels for norms, positions and
  gates are used where they are installed; its cross-entropy is not, since ours also leaves out unlabelled positions.
- Activations are kept unless memory runs out: making them again costs a third of the speed.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import torch
from camelid_core.errors import ConfigError

if TYPE_CHECKING:
    from camelid_train.config import TrainSection

_LIGER = {"cross_entropy": False, "fused_linear_cross_entropy": False}
_HALF = (torch.bfloat16, torch.float16)


def arguments(computed: torch.dtype, weights: torch.dtype, device: str) -> dict[str, Any]:
    """TrainingArguments for products in `computed` with `weights` on `device`."""
    chosen: dict[str, Any] = {
        "bf16": computed == torch.bfloat16 and weights == torch.float32,
        "fp16": computed == torch.float16 and device == "cuda",
    }
    if device == "cuda" and find_spec("liger_kernel"):
        chosen |= {"use_liger_kernel": True, "liger_kernel_config": _LIGER}
    return chosen


def prepare(model: Any, section: TrainSection) -> None:
    """What the recipe asks for and this machine has, done to a model that a method has prepared.

    Raises:
        ConfigError: the model cannot do what the recipe asks for.
    """
    use_fast_attention(model)
    if section.gradient_checkpointing == "on":
        save_activations(model)
    if section.compile:
        compile_layers(model)


def use_fast_attention(model: Any) -> None:
    """On CUDA, flash attention where its package is there, the model knows it and its weights have 16 bits, the only
    ones it takes; else torch's own stays, which has no kernel for rows of different lengths."""
    from transformers.utils import is_flash_attn_2_available

    base = whole(model)
    fits = model.device.type == "cuda" and base.get_input_embeddings().weight.dtype in _HALF
    if fits and base._supports_flash_attn and is_flash_attn_2_available():
        base.set_attn_implementation("flash_attention_2")


def packs(wanted: Literal["auto", "on", "off"], model: Any) -> bool:
    """Whether rows are laid end to end: with auto, where a kernel for that is there and it is exact.

    Raises:
        ConfigError: it is wanted, and the model or the method mixes up rows that way.
    """
    from .packing import packs_exactly

    kernel = "flash" in str(whole(model).config._attn_implementation)
    if wanted == "off" or (wanted == "auto" and not kernel):
        return False
    exact = packs_exactly(model)
    if wanted == "on" and not exact:
        raise ConfigError(
            f"train.packing='on': {whole(model).config.model_type!r} models, or this method, cannot tell rows apart "
            "that lie end to end. Set train.packing='auto'."
        )
    return exact


def save_activations(model: Any) -> None:
    """Keep only each layer's input, and make the rest again in the backward pass.

    Raises:
        ConfigError: the model cannot, or the method keeps virtual tokens where that leaves them out.
    """
    virtual = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    if virtual or not whole(model).supports_gradient_checkpointing:
        raise ConfigError(
            "train.gradient_checkpointing='on': this model or method cannot make activations again. Set it to 'off'."
        )
    model.activation_checkpointing_enable()


def compile_layers(model: Any) -> None:
    """Compile the repeated layers, once for all of them; the rest is too little to be worth the wait.

    Raises:
        ConfigError: there are none.
    """
    repeated = set(whole(model)._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in repeated]
    if not layers:
        raise ConfigError("train.compile: this model has no repeated layers to compile. Set it to false.")
    for layer in layers:
        _compile(layer)


def _compile(layer: Any) -> None:
    """While training only: answers are written with a cache that grows, which would be compiled again and again."""
    plain, compiled = layer.forward, torch.compile(layer.forward, dynamic=True)
    layer.forward = lambda *args, **options: (compiled if layer.training else plain)(*args, **options)


def whole(model: Any) -> Any:
    """The transformers model inside a peft one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
