"""How a stored GPTQ model is loaded through GPTQModel: what must be installed, and which of its kernels computes it.

On a processor GPTQModel 7.6 takes a kernel for 4 bits that fails at matrices whose columns are no multiple of the group
size; its plain kernel takes everything. That one compiles a program that unpacks the weights for every token; here they
are unpacked once, without a compiler, and kept: fast, in the memory of the plain model.
Knows GPTQModel's kernels. Loads no weights.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from types import MethodType
from typing import Any

from camelid_core.errors import MissingPackage
from camelid_core.integrity import safetensors_header

from .resolved_model import ResolvedModel

GPTQ = "gptq"
_GROUPS = ".g_idx"
PLAIN_KERNEL = "torch"


def is_gptq(resolved: ResolvedModel) -> bool:
    return (resolved.config.get("quantization_config") or {}).get("quant_method") == GPTQ


def gptq_kernel(resolved: ResolvedModel, device: str) -> str:
    """The kernel that a stored GPTQ model must be computed with on `device`; empty leaves it to GPTQModel.

    Raises:
        MissingPackage: GPTQModel is not installed, or optimum, through which Transformers calls it.
    """
    missing = [name for name in ("gptqmodel", "optimum") if find_spec(name) is None]
    if missing:
        raise MissingPackage(
            f"{resolved.name!r} is stored as GPTQ, which needs {' and '.join(missing)}; "
            "type `pip install camelid-gptq`."
        )
    few_cores()
    return PLAIN_KERNEL if device == "cpu" and has_odd_groups(resolved) else ""


def unpack_once(model: Any) -> None:
    """Let matrices that GPTQModel's plain kernel computes on a processor keep their weights once they are unpacked."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    for module in model.modules():
        if isinstance(module, TorchLinear):
            module.dequantize_weight = MethodType(TorchLinear.dequantize_weight, module)
            module.enable_weight_cache(True)


def few_cores() -> None:
    """GPTQModel takes half of the cores as workers, and fails where its loader, which needs two, gets one."""
    if (os.cpu_count() or 1) < 3:
        os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")


def has_odd_groups(resolved: ResolvedModel) -> bool:
    """Whether a matrix has columns that are no multiple of the group size. Reads headers alone."""
    size = int(resolved.config["quantization_config"].get("group_size") or -1)
    headers = [safetensors_header(path) for path in sorted(resolved.base.glob("*.safetensors"))]
    columns = [each["shape"][0] for header in headers for name, each in header.items() if name.endswith(_GROUPS)]
    return size > 0 and any(each % size for each in columns)
