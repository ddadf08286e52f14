"""What makes training fast on this machine, decided in one place: mixed precision, attention, fused kernels, packing,
gradient checkpointing, torch.compile.

Knows devices, dtypes and which packages are installed. Knows nothing of data or of artefacts.

- Mixed precision: matrix products are computed in the dtype that the device multiplies natively; trainable weights are
  float32. An adapter's weights are few and cast to their base's dtype for each product (`methods.lora_layers`). Full
  fine-tuning keeps float32 weights and computes under autocast. In float16 small gradients underflow: loss scaling.
- No attention mask: rows are padded on the right and attention is causal, so none is needed, and attention without a
  mask is the fastest there is (`batches`, `loss`). Where attention takes rows of different lengths (varlen), by a
  kernel or one after the other, the padding goes too (`packing`, `row_attention`).
- Fused AdamW, one kernel for all parameters, is the Trainer's default. On CUDA, Liger's kernels for norms, rotary
  positions and gates are used where they are installed; its cross-entropy is not, since ours also leaves out unlabelled
  positions.
- Activations are stored unless memory runs out: recomputing them (gradient checkpointing) costs a third of the speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import torch
from camelid_core.errors import ConfigError

if TYPE_CHECKING:
    from camelid_train.config import TrainSection

_LIGER = {"cross_entropy": False, "fused_linear_cross_entropy": False}
_may_patch: ContextVar[bool] = ContextVar("may_patch", default=True)
_16_BIT = (torch.bfloat16, torch.float16)
_VARLEN_ATTENTION = ("flash_attention_2", "rowwise")
_COMPILERS = {"cpu": "a C++ compiler and Python's headers", "cuda": "Triton, a C compiler and Python's headers"}


def arguments(compute_dtype: torch.dtype, weights: torch.dtype, device: str) -> dict[str, Any]:
    """TrainingArguments for products in `compute_dtype` with `weights` of that dtype on `device`: autocast, loss
    scaling."""
    chosen: dict[str, Any] = {
        "bf16": compute_dtype == torch.bfloat16 and weights == torch.float32,
        "fp16": compute_dtype == torch.float16 and device == "cuda",
    }
    if device == "cuda" and _may_patch.get() and find_spec("liger_kernel"):
        chosen |= {"use_liger_kernel": True, "liger_kernel_config": _LIGER}
    return chosen


@contextmanager
def without_liger() -> Iterator[None]:
    """Train without Liger, which changes transformers' own classes for whatever this process loads later: a model on a
    CPU would then ask for kernels that it cannot run."""
    token = _may_patch.set(False)
    try:
        yield
    finally:
        _may_patch.reset(token)


def autocast_dtype(args: Any) -> torch.dtype | None:
    """The dtype of autocast (mixed precision); None where products are computed in the dtype of the weights."""
    return torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None


def prepare(model: Any, section: TrainSection) -> None:
    """Apply what the recipe asks for and this machine has to a model that a method has prepared.

    Raises:
        ConfigError: the model cannot do what the recipe asks for.
    """
    use_fast_attention(model, section.compile)
    if section.gradient_checkpointing == "on":
        enable_gradient_checkpointing(model)
    if section.compile:
        compile_layers(model)


def use_fast_attention(model: Any, compiled: bool = False) -> None:
    """Use attention for rows of different lengths (varlen), where that loses no more elsewhere.

    On CUDA, flash attention where its package is installed, the model supports it and its weights have 16 bits, the
    only ones it takes. On a CPU, torch's SDPA for one row after the other, unless layers are compiled, which would be
    done anew for all lengths. Else SDPA stays, for padded rows.
    """
    from transformers.utils import is_flash_attn_2_available

    from .row_attention import ROWWISE

    base, device = transformers_model(model), model.device.type
    fits = device == "cuda" and base.get_input_embeddings().weight.dtype in _16_BIT
    if fits and base._supports_flash_attn and is_flash_attn_2_available():
        base.set_attn_implementation("flash_attention_2")
    elif device == "cpu" and base.config._attn_implementation == "sdpa" and not compiled:
        base.set_attn_implementation(ROWWISE)


def should_pack(setting: Literal["auto", "on", "off"], model: Any, refusal: str = "") -> bool:
    """Whether to use sequence packing: with auto, where attention is varlen and packing is exact. `refusal` is why the
    model's family cannot, where that is known.

    Raises:
        ConfigError: it is on, and the model or the method cannot keep packed rows apart.
    """
    from .packing import is_packing_exact

    varlen = transformers_model(model).config._attn_implementation in _VARLEN_ATTENTION
    if setting == "off" or (setting == "auto" and not varlen):
        return False
    exact = not refusal and is_packing_exact(model)
    if setting == "on" and not exact:
        kind = transformers_model(model).config.model_type
        raise ConfigError(
            f"train.packing='on': {kind!r} models, or this method, cannot keep packed rows apart."
            f"{f' {refusal}' if refusal else ''} Set train.packing='auto'."
        )
    return exact


def enable_gradient_checkpointing(model: Any) -> None:
    """Gradient checkpointing: store only each layer's input, and recompute the rest in the backward pass.

    Raises:
        ConfigError: the model cannot, or the method keeps virtual tokens where that leaves them out.
    """
    virtual = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    if virtual or not transformers_model(model).supports_gradient_checkpointing:
        raise ConfigError(
            "train.gradient_checkpointing='on': this model or method cannot recompute activations. Set it to 'off'."
        )
    model.activation_checkpointing_enable()


def compile_layers(model: Any) -> None:
    """Compile the repeated layers, once for all of them; the rest is too little to be worth the wait.

    Raises:
        ConfigError: there are none, or this machine has nothing to compile with.
    """
    repeated = set(transformers_model(model)._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in repeated]
    if not layers:
        raise ConfigError("train.compile: this model has no repeated layers to compile. Set it to false.")
    check_compiler(model.device)
    for layer in layers:
        _compile(layer)


def check_compiler(device: torch.device) -> None:
    """Compile next to nothing: what is missing shows now, and not in the middle of the first step.

    Raises:
        ConfigError: it cannot be done on this machine.
    """
    try:
        if device.type == "cpu":
            from torch._inductor.cpp_builder import get_cpp_compiler

            get_cpp_compiler()  # what was compiled once may lie in torch's cache
        torch.compile(lambda numbers: numbers.sin() + 1)(torch.ones(16, device=device))
    except Exception as error:  # torch has an error of its own for each of its stages
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        needed = _COMPILERS.get(device.type, "a compiler")
        raise ConfigError(
            f"train.compile: torch cannot compile here ({reason}). It needs {needed}, which on Debian and Ubuntu come "
            "with `apt install g++ python3-dev`. Install them, or set train.compile=false."
        ) from None


def _compile(layer: Any) -> None:
    """While training only: answers are written with a cache that grows, which would be compiled again and again."""
    plain, compiled = layer.forward, torch.compile(layer.forward, dynamic=True)
    layer.forward = lambda *args, **options: (compiled if layer.training else plain)(*args, **options)


def transformers_model(model: Any) -> Any:
    """The transformers model inside a peft one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
