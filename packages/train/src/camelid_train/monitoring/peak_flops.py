"""Peak FLOPS of a device in matrix multiplication: from a table for common accelerators, measured for others.

Knows names, dtypes and a clock. Knows nothing of models or training.

The rates are the vendors' own for dense matrices (not the doubled ones for sparse), in 10¹² operations per second,
with sums kept in float32. Sources: NVIDIA's data sheets of T4, V100, A10, A30, A40, A100, H100, H200, H20, L4, L40,
L40S, RTX A6000, RTX 6000 Ada and the B200; appendix A of the white papers on GA102 (RTX 30), AD102 (RTX 40)
and GB202 (RTX 50); AMD's data sheets of MI210, MI250X (half of it: torch sees each of its two dies), MI300A, MI300X
and MI325X.
"""

from __future__ import annotations

import re
import time
from functools import cache
from typing import Any

_TERA = 1e12
_SECONDS = 0.25
_NARROWEST, _WIDEST, _MATRIX = 256, 1024, 1 << 20
_ROWS = (64, 256)
"""On a CPU: many rows are faster, and few finish before other work interrupts on a busy machine."""
_ON_CARD = 4096

PEAKS: dict[str, tuple[float, float, float]] = {
    # 16 bits, float32 with reduced precision (TF32, XF32), float32
    "T4": (65, 8.1, 8.1),
    "V100-SXM2": (125, 15.7, 15.7),
    "V100-PCIE": (112, 14, 14),
    "A10": (125, 62.5, 31.2),
    "A30": (165, 82, 10.3),
    "A40": (149.7, 74.8, 37.4),
    "A100": (312, 156, 19.5),
    "A800": (312, 156, 19.5),
    "H20": (148, 74, 44),
    "H100": (989.4, 494.7, 66.9),
    "H100 PCIe": (756, 378, 51),
    "H100 NVL": (835, 417.5, 60),
    "H200": (989.4, 494.7, 66.9),
    "H200 NVL": (835, 417.5, 60),
    "B200": (2250, 1125, 75),
    "L4": (121, 60, 30.3),
    "L40": (181, 90.5, 90.5),
    "L40S": (362, 183, 91.6),
    "RTX A6000": (154.8, 77.4, 38.7),
    "RTX 6000 Ada": (364.2, 182.1, 91.1),
    "RTX 3080": (59.5, 29.8, 29.8),
    "RTX 3090": (71, 35.6, 35.6),
    "RTX 3090 Ti": (80, 40, 40),
    "RTX 4080": (97.5, 48.7, 48.7),
    "RTX 4090": (165.2, 82.6, 82.6),
    "RTX 5090": (209.5, 104.8, 104.8),
    "MI210": (181, 45.3, 45.3),
    "MI250X": (191.5, 47.9, 47.9),
    "MI300A": (980.6, 490.3, 122.6),
    "MI300X": (1307.4, 653.7, 163.4),
    "MI325X": (1307.4, 653.7, 163.4),
}

_OTHER = re.compile(r"Laptop|Max-Q|SUPER|\bMIG\b|\bD\b", re.IGNORECASE)
"""Variants that share a name and not the speed."""


@cache
def device_peak(device: Any, dtype: Any, width: int) -> float:
    """Peak FLOPS of matrix products in `dtype` on `device`.

    A device that is not in the table is measured once, in a quarter of a second, with matrices as wide as the model:
    the fastest of several products.
    """
    import torch

    if device.type == "cuda":
        rate = table_peak(torch.cuda.get_device_name(device), dtype, torch.backends.cuda.matmul.allow_tf32)
        if rate is not None:
            return rate
    return measured_peak(device, dtype, width)


def table_peak(name: str, dtype: Any, shortened: bool = False) -> float | None:
    """The table's peak FLOPS for a GPU of this name; None for an unknown one. `shortened`: float32 may be TF32."""
    if _OTHER.search(name):
        return None
    found = [key for key in PEAKS if re.search(rf"(?<![\w-]){re.escape(key)}(?!\w)", name, re.IGNORECASE)]
    if not found:
        return None
    short, tensor, plain = PEAKS[max(found, key=len)]
    if "float32" in str(dtype):
        return (tensor if shortened else plain) * _TERA
    return short * _TERA


def measured_peak(device: Any, dtype: Any, width: int, seconds: float = _SECONDS) -> float:
    """FLOPS of the fastest product of some rows with a matrix."""
    import torch

    inner = outer = _ON_CARD
    counts: tuple[int, ...] = (_ON_CARD,)
    if device.type == "cpu":
        inner = min(max(width, _NARROWEST), _WIDEST)
        outer, counts = _MATRIX // inner, _ROWS
    matrix = torch.ones(inner, outer, device=device, dtype=dtype)  # ones: no random number is drawn for it
    rows = [torch.ones(count, inner, device=device, dtype=dtype) for count in counts]
    best, began = 0.0, time.perf_counter()
    with torch.no_grad():
        while not best or time.perf_counter() - began < seconds:
            for each in rows:
                start = time.perf_counter()
                torch.mm(each, matrix)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                best = max(best, 2.0 * len(each) * inner * outer / (time.perf_counter() - start))
    return best
