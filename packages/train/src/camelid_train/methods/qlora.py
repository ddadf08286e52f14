"""QLoRA: LoRA on a base that is quantised while it is loaded, by bitsandbytes.

Knows 4-bit NormalFloat and 8-bit integers. Works on a CPU, too.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from camelid_core.errors import MissingPackage, ModelError

from . import citations
from .lora import BaseLora, BaseLoraMethod
from .tuning_method import refuse_quantised

if TYPE_CHECKING:
    from camelid_core.models.loading import Dtype
    from camelid_core.models.resolved_model import ResolvedModel


class QloraMethod(BaseLoraMethod):
    """QLoRA: LoRA on a base model quantised to 4 or 8 bits on loading: a quarter to a half of its memory."""

    type: Literal["qlora"] = "qlora"
    quantization: Literal["nf4", "int8"] = "nf4"
    """Quantisation of the frozen base weights (bitsandbytes): nf4 is 4-bit NormalFloat, int8 takes twice the memory and
    is more exact. Also: `load_in_4bit`, `load_in_8bit`, `quantization_bit`."""
    double: bool = True
    """Double quantisation: quantise the scales of nf4 as well, which saves another 0.4 bits per weight.
    Also: `bnb_4bit_use_double_quant`, `double_quantization`."""


class Qlora(BaseLora[QloraMethod]):
    name = "qlora"
    help = "QLoRA: LoRA on a base quantised to 4 or 8 bits; the least memory, slower than LoRA where that fits."
    config = QloraMethod
    citations = (citations.LORA, citations.QLORA)

    def load(self, resolved: ResolvedModel, dtype: Dtype, section: QloraMethod) -> Any:
        from camelid_core.models.loading import choose_device, choose_dtype, load_base

        refuse_quantised(resolved)
        if refusal := resolved.adapter.refusals.get("qlora"):
            raise ModelError(f"method.type='qlora' and {resolved.name!r}: {refusal}")
        with library_warnings_off():
            check_installed("method.type='qlora'")
            from transformers import BitsAndBytesConfig

            four_bit = {
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": section.double,
                "bnb_4bit_compute_dtype": choose_dtype(dtype),
            }
            quantization = BitsAndBytesConfig(**four_bit if section.quantization == "nf4" else {"load_in_8bit": True})
            model = load_base(resolved, dtype, quantization_config=quantization, device_map={"": choose_device()})
            keep_trainable(model)
            check_quantised(model, resolved.name)
            return model

    def load_as_trained(self, resolved: ResolvedModel, section: QloraMethod) -> Any:
        with library_warnings_off():
            return self.load(resolved, "float32", section).dequantize()


def keep_trainable(model: Any) -> None:
    """Where a CPU multiplies bfloat16, bitsandbytes repacks weights in their first forward pass without gradients,
    and what it then computes has none for ever: after one evaluation nothing would be learned through that layer."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def check_quantised(model: Any, name: str) -> None:
    """Raises ModelError: bitsandbytes quantised none of its layers, which it says to nobody; nothing would be saved."""
    if not any(hasattr(parameter, "quant_state") or hasattr(parameter, "CB") for parameter in model.parameters()):
        raise ModelError(
            f"bitsandbytes quantises none of the layers of {name!r}, whose classes it does not know: nothing would be "
            "smaller. Leave the weights in 16 bits."
        )


def check_installed(what: str) -> None:
    """Raises MissingPackage: no bitsandbytes, which `what` needs."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise MissingPackage(f"{what} needs bitsandbytes; type `pip install 'camelid-train[qlora]'`.") from None


@contextmanager
def library_warnings_off() -> Iterator[None]:
    """No warnings from bitsandbytes: of kernels it could fetch, and of every layer whose input int8 casts to
    float16."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


QLORA = Qlora()
