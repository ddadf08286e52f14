"""The device that this machine computes on: kind, description and memory.

Knows cores, memory and processor flags. Imports no torch, so that pages and listings stay light.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True, slots=True)
class Device:
    """`memory` and `free` are bytes: of all GPUs together, else of the machine."""

    kind: str
    description: str
    memory: int
    free: int


def describe_device() -> Device:
    """The device work will run on, for example `CPU, 2 cores · 21 GB free`."""
    gpus = nvidia_gpus()
    if gpus:
        name, free = gpus[0][0], sum(gpu[2] for gpu in gpus)
        return Device("cuda", f"{len(gpus)} × {name}, {free >> 30} GB free", sum(gpu[1] for gpu in gpus), free)
    memory = psutil.virtual_memory()
    return Device("cpu", f"CPU, {cpu_cores()} cores · {memory.available >> 30} GB free", memory.total, memory.available)


def memory_limit(root: Path = _CGROUP, own: Path = _OWN_CGROUP) -> int:
    """Bytes of main memory that this process may ever take: of the machine, and of the container's limits (cgroup)."""
    limits = [psutil.virtual_memory().total]
    for path in cgroup_files("memory.max", "memory.limit_in_bytes", root, own):
        with suppress(OSError, ValueError):
            limits.append(int(path.read_text(encoding="ascii")))
    return min(limits)


def cgroup_files(
    name: str, name_v1: str, root: Path = _CGROUP, own: Path = _OWN_CGROUP, controller: str = "memory"
) -> list[Path]:
    """Files of that name in this process' control group and in those above it, the own one first; `name_v1` is what
    version 1 calls it."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
    found: list[Path] = []
    for number, controllers, place in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if number == "0":
            base, file = root, name
        elif controller in controllers.split(","):
            base, file = root / controller, name_v1
        else:
            continue
        directory = base / place.strip("/")  # in a container it may be named as the host sees it: then only the root is
        found += [path / file for path in (directory, *directory.parents) if path.is_relative_to(base)]
    return [path for path in found if path.exists()]


def available_memory(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of main memory that this process may still take: of the machine, and of the container's limit (cgroup)."""
    free = psutil.virtual_memory().available
    try:
        limit, used = [(root / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current")]
        return min(free, max(0, int(limit) - int(used))) if limit.isdecimal() else free
    except (OSError, ValueError):
        return free


def cpu_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the processor has bfloat16 instructions; emulated it is up to 90 times slower than float32."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return bool(_BF16_FLAGS & set(flags.split()))


def nvidia_smi(*fields: str) -> list[list[str]]:
    """These fields of each NVIDIA GPU, as nvidia-smi prints them; nothing where it is not there or fails."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in lines]
    return [row for row in rows if len(row) == len(fields)]


def nvidia_gpus() -> list[tuple[str, int, int]]:
    """Name, memory and free memory of each NVIDIA GPU."""
    return [
        (name.removeprefix("NVIDIA "), int(total) << 20, int(free) << 20)
        for name, total, free in nvidia_smi("name", "memory.total", "memory.free")
        if total.isdecimal() and free.isdecimal()  # GPUs that share the machine's memory report [N/A]
    ]
