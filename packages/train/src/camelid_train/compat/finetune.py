"""Arguments of Alpaca-CoT's first `finetune.py` → a recipe: LLaMA, and the hyperparameters that it had built in.

Knows both sides. Reads no data: the number of rows is a parameter. As a program (`python -m`) it stands in for the
script: it trains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from camelid_core.compat.arguments import Flag, parse
from camelid_core.compat.command_lines import train_as_script
from camelid_core.errors import UsageError

from . import uniform_finetune
from .uniform_finetune import TranslatedRecipe

_FLAGS: tuple[Flag, ...] = (("size", str, "7", None), ("data", str, None, "+"), ("local_rank", int, -1, None))
_GLOBAL_BATCH, _MICRO_BATCH, _WARMUP = 128, 4, 100
_TEMPLATE = "alpaca-newline"
"""Its prompt ended in a newline, of conversations as well."""
_BUILT_IN = {"save_steps": 200, "keep": 3, "log_steps": 20}


def read(arguments: Sequence[str], rows: int | None = None, world: int = 1) -> TranslatedRecipe:
    """The recipe that `arguments` mean for so many training and held-out rows on so many processes.

    Raises:
        UsageError: a flag without its value, or no data.
    """
    flags, unknown, _ = parse("finetune", _FLAGS, arguments)
    if not flags.data:
        raise UsageError("finetune: --data is needed; `camelid datasets list` shows what there is.")
    size = flags.size.lower().removesuffix("b")
    accumulation = max(1, _GLOBAL_BATCH // _MICRO_BATCH // world)
    words = ["--model_type", "llama", "--size", f"{size}b", "--gradient_accumulation_steps", str(accumulation)]
    translated = uniform_finetune.read([*words, "--data", *flags.data], rows, world)
    translated.unknown, translated.tool = unknown, "finetune"
    train = translated.values["train"]
    data = "+".join(map(uniform_finetune.stem, flags.data))
    best = translated.values["data"]["eval_rows"] > 0
    train |= {**_BUILT_IN, "best": best, "output": f"./saved-{data}{size}b"}
    if rows is not None:
        batches = math.ceil((rows - translated.values["data"]["eval_rows"]) / (_MICRO_BATCH * accumulation * world))
        total = max(1, math.ceil(train["epochs"] * batches))
        train["warmup"] = math.floor(min(_WARMUP / total, 0.99) * 1e6) / 1e6  # the loop rounds up
    translated.values["data"]["template"] = _TEMPLATE
    translated.values["eval"]["steps"] = _BUILT_IN["save_steps"]
    translated.notes = [
        note
        for note in translated.notes
        if not any(words in note for words in ("saved and measured", "are left to", "alpaca-dialogue"))
    ]
    return translated


if __name__ == "__main__":
    train_as_script("finetune")
