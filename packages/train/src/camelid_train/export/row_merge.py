"""Plain LoRA merged into a linear layer's weight some rows at a time, within the memory of the weight itself.

A row of W + s·B·A needs no other row of W. A block of rows stays in the processor's cache while it is widened to
float32, changed, compared and narrowed again, where merging a whole matrix writes several copies of it to memory.
Knows PEFT's plain LoRA; DoRA, embeddings and whatever else PEFT has on a layer it merges itself (`layer_merge`).
"""

from __future__ import annotations

from typing import Any

_BLOCK = 1 << 18
"""Numbers of a block: one megabyte in float32."""


def is_plain_lora(module: Any, label: str) -> bool:
    """Whether adapter `label` of a PEFT layer is W + s·B·A on a linear layer, and nothing else."""
    from peft.tuners.lora import Linear

    plain = type(module) is Linear and label not in module.lora_variant
    return plain and not module.fan_in_fan_out and not module.lora_bias[label]


def merge_rows(module: Any, label: str, weight: Any, inputs: Any, dtype: Any) -> tuple[Any, float, float]:
    """The weight of `dtype` with the adapter merged, which is `weight` itself, changed, where it has that dtype.

    Also how far the merged layer's outputs on `inputs` are from those of base plus adapter, and how far these are from
    the base's, both as parts of the largest output; not a number where a weight is none.
    """
    import torch

    with torch.no_grad():
        beside = module.lora_B[label](module.lora_A[label](inputs)) * module.scaling[label]
        lora_a, lora_b = module.lora_A[label].weight.float(), module.lora_B[label].weight * module.scaling[label]
        merged = weight if weight.dtype == dtype else torch.empty_like(weight, dtype=dtype)
        largest = torch.zeros(3)
        for rows in torch.arange(len(weight)).split(max(1, _BLOCK // weight.shape[1])):
            block = slice(int(rows[0]), int(rows[-1]) + 1)
            values = weight[block].float()
            plain = inputs @ values.T
            answers = plain + beside[:, block]
            values = torch.addmm(values, lora_b[block], lora_a)
            off = inputs @ values.T - answers
            found = torch.stack([each.abs().max() for each in (off, beside[:, block], answers)])
            largest = torch.maximum(largest, found)
            merged[block] = values
    off, change, scale = largest.tolist()
    return merged, off / (scale or 1.0), change / (scale or 1.0)
