"""Arguments of Alpaca-CoT's `uniform_finetune.py` → a recipe, and notes on flags that have no equivalent here.

Knows both sides. Reads no data: the number of rows is a parameter. As a program (`python -m`) it stands in for the
script: it trains.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid_core.compat.command_lines import train_as_script
from camelid_core.compat.families import DEFAULT_WEIGHTS, family_of, weights_of
from camelid_core.errors import UsageError

from camelid_train.monitoring.trackers import TRACKERS

from .flags import LATER, parse

_LARGEST_HELDOUT = 10_000
_MAXIMA = {"epochs": 1000, "per_gpu_train_batch_size": 4096, "gradient_accumulation_steps": 4096}
"""Flags that the learning-rate schedule is computed from, and the largest value a recipe allows."""
_KEEP = 11
_DIALOGUES = ("multiturn_chat", "multiturn-chat", "multiturn_chat_0.8M", "belle-chat")
_PARTLY_DIALOGUES = ("belle_cn", "belle-cn")
"""Data whose rows, or some of them, are conversations: the original wrote those as dialogues, row by row."""
_METHODS = ("lora", "qlora", "adalora", "prompt", "p_tuning", "prefix")


@dataclass(slots=True)
class TranslatedRecipe:
    """A recipe's `values` by section, `notes` on the translation, and flags that are unknown to the tool itself."""

    values: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    tool: str = "uniform_finetune"

    @property
    def sources(self) -> list[str]:
        return list(self.values["data"]["sources"])


def read(arguments: Sequence[str], rows: int | None = None, world: int = 1) -> TranslatedRecipe:
    """The recipe that `arguments` mean for so many training and held-out rows on so many processes.

    Raises:
        UsageError: a flag without its value or with one that no run can have, no data, or a method nobody has.
    """
    flags, unknown, given = parse(arguments)
    if not flags.data:
        raise UsageError("uniform_finetune: --data is needed; `camelid datasets list` shows what there is.")
    for name, most in _MAXIMA.items():
        if not 0 < getattr(flags, name) <= most:  # nan is neither
            raise UsageError(f"uniform_finetune: --{name} {getattr(flags, name)}; use more than 0, at most {most}.")
    translated = TranslatedRecipe({}, unknown=unknown)
    heldout = _heldout(flags, rows, translated)
    train = _train(flags, given, None if rows is None else rows - heldout, heldout, world, translated)
    translated.values |= {
        "model": _model(flags, given, translated),
        "data": {
            "sources": flags.data,
            "template": _template(flags, translated),
            "cutoff": flags.cutoff_len,
            "eval_rows": heldout,
            "split_seed": 42,
        },
        "method": _method(flags, translated),
        "train": train,
        "eval": {"steps": train.get("save_steps"), "batch_size": flags.per_gpu_train_batch_size},
    }
    translated.notes += _notes(flags, given, world)
    return translated


def _template(flags: Namespace, translated: TranslatedRecipe) -> str:
    names = [stem(name) for name in flags.data]
    if all(name in _DIALOGUES for name in names):
        return "alpaca-dialogue"
    mixed = [name for name in names if name in (*_DIALOGUES, *_PARTLY_DIALOGUES)]
    if mixed:
        translated.notes.append(
            f"Conversations of {', '.join(mixed)} are written in the form alpaca, as the other rows are: a run has one "
            "template. The original wrote them as alpaca-dialogue; `--set data.template=alpaca-dialogue` does for all."
        )
    return "alpaca"


def _model(flags: Namespace, given: set[str], translated: TranslatedRecipe) -> dict[str, Any]:
    kind = flags.model_type.partition("_")[0]
    name = flags.model_name_or_path or weights_of(flags.model_type, flags.size)
    if not name:
        name = DEFAULT_WEIGHTS
        size = f" {flags.size}" if flags.size else ""
        translated.notes.append(f"No weights are known as {flags.model_type}{size}; {name} is the original's default.")
    translated.notes += family_of(kind).notes
    formats = {"fp32": "float32", "bf16": "bfloat16", "fp16": "auto"}
    if flags.compute_dtype not in formats:
        raise UsageError(f"uniform_finetune: --compute_dtype {flags.compute_dtype!r}; use {', '.join(formats)}.")
    return {"name": name, "dtype": formats[flags.compute_dtype]}


def _method(flags: Namespace, translated: TranslatedRecipe) -> dict[str, Any]:
    if flags.peft_type not in _METHODS:
        raise UsageError(f"uniform_finetune: --peft_type {flags.peft_type!r}; use {', '.join(_METHODS)}.")
    targets = list(flags.lora_target_modules or [])
    lora = {"alpha": flags.lora_alpha, "dropout": flags.lora_dropout, "targets": targets}
    virtual = {"tokens": flags.num_virtual_tokens}
    bits = flags.quantization_bit or (8 if family_of(flags.model_type.partition("_")[0]).eight_bit else None)
    if bits not in (None, 4, 8):
        raise UsageError(f"uniform_finetune: --quantization_bit {bits}; use 4 or 8.")
    if flags.peft_type in ("lora", "qlora"):
        if not bits and flags.peft_type == "lora":
            return {"type": "lora", "r": flags.lora_r, **lora}
        return {"type": "qlora", "quantization": "int8" if bits == 8 else "nf4", "r": flags.lora_r, **lora}
    if flags.quantization_bit:
        translated.notes.append(f"{flags.peft_type} trains on plain weights here; --quantization_bit is left out.")
    if flags.peft_type == "adalora":
        return {
            "type": "adalora",
            "initial_r": flags.adalora_init_r,
            "target_r": flags.lora_r,
            **lora,
            **_adalora_schedule(flags),
        }
    if flags.peft_type == "p_tuning":
        return {"type": "p-tuning", **virtual, "hidden": flags.prompt_encoder_hidden_size}
    return {"type": flags.peft_type, **virtual}


def _adalora_schedule(flags: Namespace) -> dict[str, Any]:
    return {
        "warmup_steps": flags.adalora_tinit,
        "final_steps": flags.adalora_tfinal,
        "every": flags.adalora_delta_t,
        "beta1": 0.85,
        "beta2": 0.85,
    }


def _heldout(flags: Namespace, rows: int | None, translated: TranslatedRecipe) -> int:
    """No more than a tenth of the rows, which is also what the data allows."""
    wanted = min(max(flags.val_set_size, 0), _LARGEST_HELDOUT)
    if rows is not None and wanted > rows // 10:
        wanted = rows // 10
    if wanted < flags.val_set_size:
        translated.notes.append(
            f"--val_set_size {flags.val_set_size}: {wanted:,} rows are held out, as many as can be."
        )
    return wanted


def _train(
    flags: Namespace, given: set[str], rows: int | None, heldout: int, world: int, translated: TranslatedRecipe
) -> dict[str, Any]:
    values = {
        "epochs": flags.epochs,
        "batch_size": flags.per_gpu_train_batch_size,
        "accumulation": flags.gradient_accumulation_steps,
        "learning_rate": flags.learning_rate,
        "schedule": "linear",
        "seed": 42,
        "keep": _KEEP,
        "output": output_directory(flags, given),
    }
    if flags.report_to in TRACKERS:
        values["report_to"] = [flags.report_to]
    if rows is None:
        translated.notes.append(
            "How many rows there are is not known here: save and eval steps are left to the defaults, and the last "
            "weights are kept, where the original took those of the lowest held-out loss."
        )
        return values | {"warmup": math.floor(min(0.1 / flags.epochs, 0.99) * 1e6) / 1e6}
    batch = flags.per_gpu_train_batch_size * flags.gradient_accumulation_steps * world
    every = max(1, int(rows // batch / 10))  # the original divides small sets down to 0 and fails
    if int(rows // batch / 10) == 0:
        translated.notes.append(f"{rows:,} rows are under ten batches of {batch}: saved and measured every step.")
    total = max(1, math.ceil(flags.epochs * math.ceil(rows / batch)))
    if flags.peft_type == "adalora" and flags.adalora_tinit + flags.adalora_tfinal >= total:
        translated.notes.append(
            f"{total} steps are too few for AdaLoRA's 200 + 1000: its schedule is fitted to the run."
        )
        flags.adalora_tinit = flags.adalora_tfinal = None
    warmup = math.floor(min(every / total, 0.99) * 1e6) / 1e6  # the loop rounds up: exactly `every` steps
    return values | {"warmup": warmup, "save_steps": every, "log_steps": min(20, every), "best": heldout > 0}


def stem(name: str) -> str:
    """`./data/alpaca.json` → `alpaca`."""
    return name.replace("\\", "/").rpartition("/")[2].removesuffix(".json")


def output_directory(flags: Namespace, given: set[str]) -> str:
    """As the original named it: in April 2023 by model and data, later by rate and method, too. `./` says that it
    is a path and no name in Camelid's home."""
    if flags.output_dir:
        return flags.output_dir if flags.output_dir.startswith((".", "/", "~")) else f"./{flags.output_dir}"
    model = flags.model_type.partition("_")[0]
    data = "+".join(map(stem, flags.data))
    if given & LATER or len(flags.data) > 1:
        return f"./saved_models/{model}_{data}_{flags.learning_rate:g}/{flags.peft_type}"
    return f"./saved_models/{model}_{data}"


def _notes(flags: Namespace, given: set[str], world: int) -> list[str]:
    size, accumulation = flags.per_gpu_train_batch_size, flags.gradient_accumulation_steps
    whole = f" on each of {world} processes, {size * accumulation * world} in all" if world > 1 else ""
    notes = [f"An optimizer step sees {size} × {accumulation} = {size * accumulation} rows{whole}."]
    if "compute_dtype" not in given or flags.compute_dtype == "fp16":
        notes.append('fp16 is read as dtype = "auto": bfloat16 where the device has it.')
    if flags.lora_target_modules is None and flags.peft_type in ("lora", "qlora", "adalora"):
        notes.append("No --lora_target_modules: the model family's own are taken.")
    if flags.resume_from_checkpoint is not None:
        notes.append("--resume_from_checkpoint: a run here is a job and resumes itself; `camelid jobs retry`.")
    if flags.report_to not in (None, "none", *TRACKERS):
        notes.append(f"--report_to {flags.report_to}: not sent; a run's curves are in its events and on the pages.")
    if flags.local_rank != -1:
        notes.append("--local_rank is the launcher's business.")
    return notes


if __name__ == "__main__":
    train_as_script("uniform_finetune")
