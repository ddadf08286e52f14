"""LoRA on a GPTQ base: adapters beside weights that are stored quantised, through GPTQModel.

Knows how such a base is loaded.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from camelid_core.errors import MissingPackage, ModelError

from .lora import BaseLora, BaseLoraMethod
from .qlora import library_warnings_off

if TYPE_CHECKING:
    from camelid_core.models.loading import Dtype
    from camelid_core.models.resolved_model import ResolvedModel


class GptqLoraMethod(BaseLoraMethod):
    """LoRA on a base model whose weights are stored GPTQ-quantised."""

    type: Literal["lora-gptq"] = "lora-gptq"


class GptqLora(BaseLora[GptqLoraMethod]):
    name = "lora-gptq"
    help = "LoRA on a GPTQ-quantised base; the adapter cannot be merged into it."
    config = GptqLoraMethod
    mergeable = False

    def load(self, resolved: ResolvedModel, dtype: Dtype, section: GptqLoraMethod) -> Any:
        from camelid_core.models.loading import choose_device, load_base

        stored = (resolved.config.get("quantization_config") or {}).get("quant_method")
        if stored != "gptq":
            raise ModelError(
                f"{resolved.name!r} is stored {stored or 'unquantised'}, not as GPTQ. "
                'Use method.type="lora" or "qlora", or quantise it first.'
            )
        missing = [name for name in ("gptqmodel", "optimum") if find_spec(name) is None]
        if missing:
            raise MissingPackage(
                f"method.type='lora-gptq' needs {' and '.join(missing)}; type `pip install 'camelid-train[gptq]'`."
            )
        from transformers import GPTQConfig

        stored = resolved.config["quantization_config"]
        # the plain torch kernel: the faster ones for processors cannot be differentiated
        quantization = GPTQConfig(bits=stored["bits"], backend="torch")
        with library_warnings_off():
            return load_base(resolved, dtype, quantization_config=quantization, device_map={"": choose_device()})


GPTQ_LORA = GptqLora()
