"""Does training give on this graphics card what it gives in float32, and how fast is it?

    python benchmarks/gpu_check.py [--model DIR] [--steps 20] [--out FILE]

Every method (but lora-gptq, which needs a base of its own kind) in every number format, with rows padded and laid end
to end, is trained by the recipe from the same start on the same rows. The losses of all steps are
compared with those of the same method in float32 with padded rows; they may differ by the rounding of the format.
Prints a table and JSON with losses, differences and tokens per second (without the first steps, in which kernels are
loaded); ends with 1 if a loss differs by more than it may, with 2 where there is no card. Without `--model`, a small
random model is made. `--device cpu` runs all of it but float16 on the processor: nothing else is different.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"type": "lora", "targets": ["all-linear"]},
    "qlora-nf4": {"type": "qlora", "quantization": "nf4", "targets": ["all-linear"]},
    "qlora-int8": {"type": "qlora", "quantization": "int8", "targets": ["all-linear"]},
    "full": {"type": "full"},
    "adalora": {"type": "adalora"},
    "ia3": {"type": "ia3"},
    "prefix": {"type": "prefix"},
    "p-tuning": {"type": "p-tuning"},
    "prompt": {"type": "prompt"},
}
DTYPES = {"cuda": ("float32", "bfloat16", "float16"), "cpu": ("float32", "bfloat16")}
PACKING = ("off", "on")
PADDED_ONLY = ("prefix", "p-tuning", "prompt")
"""Virtual tokens stand before each row of a batch, and packed rows are one."""
NEAR = {"float32": 2e-3, "bfloat16": 3e-2, "float16": 1e-2}
"""Largest relative difference of a step's loss; float32 of packed rows differs by the order of sums."""
WARM = 3
NO_CARD = "This needs an NVIDIA graphics card and a torch built for CUDA; `--device cpu` checks the same without one."


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to train, and what came out of it."""

    method: str
    dtype: str
    packing: str
    losses: list[float]
    tokens_per_second: float
    difference: float = 0.0
    error: str = ""

    @property
    def sound(self) -> bool:
        return not self.error and self.difference <= NEAR[self.dtype]


def check(device: str, model: Path, methods: list[str], steps: int, scratch: Path) -> Iterator[Cell]:
    """All cells; the first of each method, float32 with padded rows, is what the others are compared with."""
    data = rows(scratch / "rows.json")
    for method in methods:
        plain: list[float] = []
        for dtype in DTYPES[device]:
            for packing in PACKING[:1] if method in PADDED_ONLY else PACKING:
                directory = scratch / f"{method}-{dtype}-{packing}"
                recipe = _recipe(model, data, METHODS[method], dtype, packing, steps)
                try:
                    losses, rate = _train(recipe, directory)
                except Exception as error:
                    yield Cell(method, dtype, packing, [], 0.0, error=f"{type(error).__name__}: {error}")
                    continue
                plain = plain or losses
                yield Cell(method, dtype, packing, losses, rate, _difference(plain, losses))


def rows(path: Path, count: int = 256) -> Path:
    """Rows of different lengths."""
    from camelid_core.builtin.cot_arithmetic import generate

    records = generate("train", count, languages=("en",))
    pairs = [{"instruction": each.messages[-2].content, "output": each.messages[-1].content} for each in records]
    path.write_text(json.dumps(pairs), encoding="utf-8")
    return path


def _recipe(model: Path, data: Path, method: dict[str, Any], dtype: str, packing: str, steps: int) -> Any:
    from camelid_train.config import Recipe

    return Recipe.model_validate(
        {
            "model": {"name": str(model), "dtype": dtype},
            "data": {"sources": [str(data)], "eval_rows": 0, "template": "chatml"},
            "method": method,
            "train": {
                "batch_size": 8, "max_steps": steps, "epochs": 100, "log_steps": 1, "save_steps": 10**6,
                "learning_rate": 2e-5 if method["type"] == "full" else 3e-4, "packing": packing, "preflight": False,
            },
        }
    )  # fmt: skip


def _train(recipe: Any, directory: Path) -> tuple[list[float], float]:
    """The loss of each step, and tokens per second once warm."""
    from camelid_core.events import read_events
    from camelid_core.jobs.attempt import AttemptContext
    from camelid_core.jobs.run_directories import EVENTS, attempt_directory
    from camelid_train.run import train

    directory = attempt_directory(directory, 1, 1)
    directory.mkdir(parents=True)
    context = AttemptContext(directory)
    metrics = train(recipe, context)
    context.close()
    steps = [event for event in read_events(directory / EVENTS)[0] if event["kind"] == "train"]
    warm = steps[min(WARM, len(steps) - 2) :]
    tokens = metrics["total_tokens"] * (len(warm) - 1) / len(steps)
    return [event["loss"] for event in steps], tokens / max(1e-9, warm[-1]["time"] - warm[0]["time"])


def _difference(plain: list[float], losses: list[float]) -> float:
    if len(plain) != len(losses):
        return float("inf")
    return max(abs(one - other) / max(abs(one), 1e-6) for one, other in zip(plain, losses, strict=True))


def table(cells: list[Cell]) -> str:
    lines = [f"{'method':<12}{'dtype':<10}{'packing':<9}{'tokens/s':>10}{'difference':>12}  "]
    for cell in cells:
        verdict = "" if cell.sound else cell.error or f"more than {NEAR[cell.dtype]:g}"
        lines.append(
            f"{cell.method:<12}{cell.dtype:<10}{cell.packing:<9}{cell.tokens_per_second:>10,.0f}"
            f"{cell.difference:>12.2e}  {verdict}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(DTYPES), default="cuda")
    parser.add_argument("--model", type=Path, help="a Transformers directory; else a small random model")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, help="file for the JSON; else it is printed")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(NO_CARD, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CAMELID_HOME"] = str(Path(folder, "home"))
        from camelid_core.testing import tiny_model

        model = arguments.model or tiny_model(Path(folder, "model"), "llama")
        cells = list(check(arguments.device, model, arguments.methods, arguments.steps, Path(folder)))
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    report = {
        "device": name,
        "torch": torch.__version__,
        "model": model.name,
        "cells": [asdict(cell) for cell in cells],
    }
    print(table(cells))
    text = json.dumps(report, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    return 0 if all(cell.sound for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
