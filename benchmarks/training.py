"""What `bench_train.py` calls in fresh processes: Camelid's run, the rivals', and what is measured of the results.

Knows how each trains on rows that are tokenised already. Knows nothing of rounds and reports. Rivals' interpreters
import this, too: everything but the standard library is imported where it is used.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rivals import stand_in, versions

CUTOFF = 512
TARGETS = {"q,v": ["q_proj", "v_proj"], "all": ["all-linear"]}
TRAINING = {"learning_rate": 3e-4, "weight_decay": 0.0, "max_grad_norm": 1.0}
WARMUP = 0.03


def watched() -> dict[str, Any]:
    """What the loop takes, filled in by the Trainer that runs next in this process."""
    import transformers

    figures: dict[str, Any] = {"losses": []}

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.began, self.spent = time.perf_counter(), time.process_time()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            figures["seconds"] = time.perf_counter() - self.began
            figures["cpu_seconds"] = time.process_time() - self.spent
            figures["steps"] = state.global_step

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            figures["losses"] += [float(logs["loss"])] if "loss" in (logs or {}) else []

    train = transformers.Trainer.train

    def timed(self: Any, *arguments: Any, **options: Any) -> Any:
        self.add_callback(Clock())
        return train(self, *arguments, **options)

    transformers.Trainer.train = timed  # type: ignore[method-assign]
    return figures


def rows(task: dict[str, Any]) -> dict[str, Any]:
    """The rows as Camelid tokenises them, to train on and held out."""
    from camelid_core.models.loading import load_tokenizer
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host
    from camelid_core.tokenization.encoder import Encoder
    from camelid_train.data import prepare

    host, recipe = load_host(), _recipe(task, task["train"])
    tokenizer = load_tokenizer(resolve_model(task["model"], host))

    def examples(path: str) -> list[dict[str, Any]]:
        data = _recipe(task, path).data
        found = prepare(data, Encoder(tokenizer, host.templates[recipe.data.template]), host).train
        return [{"input_ids": list(each.input_ids), "labels": list(each.labels)} for each in found]

    return {
        "train": examples(task["train"]),
        "heldout": examples(task["heldout"]),
        "model": _in_format(task, tokenizer),
    }


def _in_format(task: dict[str, Any], tokenizer: Any) -> str:
    """A copy of the base in the number format that all compute in: a rival may load what is stored, as it is stored,
    and a processor without bfloat16 multiplies that a hundred times slower."""
    import torch
    from transformers import AutoModelForCausalLM

    if task["as_stored"]:
        return str(task["model"])
    copy = str(Path(task["train"]).parent / "model")
    if not Path(copy).exists():
        model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=getattr(torch, task["dtype"]))
        model.save_pretrained(copy)
        tokenizer.save_pretrained(copy)
    return copy


def ours(task: dict[str, Any]) -> dict[str, Any]:
    """A run of Camelid: the recipe's, whole."""
    figures = watched()
    from camelid_core.jobs.attempt import AttemptContext
    from camelid_core.jobs.run_directories import attempt_directory
    from camelid_train.run import train

    directory = attempt_directory(Path(task["output"]), 1, 1)
    directory.mkdir(parents=True)
    context = AttemptContext(directory)
    train(_recipe(task, task["train"]), context)
    context.close()
    return figures | {"adapter": str(context.output), "versions": versions("torch", "transformers", "peft")}


def _recipe(task: dict[str, Any], data: str) -> Any:
    from camelid_train.config import Recipe

    return Recipe.model_validate(
        {
            "model": {"name": task["model"], "dtype": task["dtype"]},
            "data": {"sources": [data], "eval_rows": 0, "template": "chatml", "cutoff": CUTOFF},
            "method": {
                "r": task["rank"], "alpha": 2 * task["rank"], "targets": TARGETS[task["targets"]],
            },
            "train": {
                **TRAINING, "seed": task["seed"], "batch_size": task["batch"], "warmup": WARMUP, "log_steps": 1,
                "save_steps": 10**6, "preflight": False, "compile": task["compile"],
            },
        }
    )  # fmt: skip


def llamafactory(task: dict[str, Any]) -> dict[str, Any]:
    """A run of LLaMA-Factory's own `run_exp` on rows that are tokenised already, in its environment."""
    out = Path(task["output"])
    os.environ |= {"HF_HOME": str(out / "home"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    stand_in("torchaudio")
    figures = watched()
    from datasets import Dataset, DatasetDict
    from llamafactory.train.tuner import run_exp

    rows = [row | {"attention_mask": [1] * len(row["input_ids"])} for row in task["tokens"]]
    empty = {"images": None, "videos": None, "audios": None}
    DatasetDict({"train": Dataset.from_list([row | empty for row in rows])}).save_to_disk(str(out / "rows"))
    run_exp(
        {
            **_common(task),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "model_name_or_path": task["model"],
            "tokenized_path": str(out / "rows"),
            "dataset": "rows",
            "template": "empty",
            "cutoff_len": CUTOFF,
            "lora_rank": task["rank"],
            "lora_alpha": 2 * task["rank"],
            "lora_dropout": 0.0,
            "lora_target": "all" if task["targets"] == "all" else ",".join(TARGETS[task["targets"]]),
            "disable_gradient_checkpointing": task["keep_activations"],
            "save_only_model": True,
            "overwrite_output_dir": True,
        }
    )
    found = versions("torch", "transformers", "peft", "llamafactory")
    return figures | {"adapter": str(out / "result"), "versions": found}


def trl(task: dict[str, Any]) -> dict[str, Any]:
    """A run of trl's SFTTrainer on rows that are tokenised already, in its environment."""
    figures = watched()
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    options = {} if not task["keep_activations"] else {"gradient_checkpointing": False}
    config = SFTConfig(**_common(task), max_length=CUTOFF, **options)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(task["model"], dtype=getattr(torch, task["dtype"])),
        args=config,
        train_dataset=Dataset.from_list(task["tokens"]),
        processing_class=AutoTokenizer.from_pretrained(task["model"]),
        peft_config=LoraConfig(
            r=task["rank"],
            lora_alpha=2 * task["rank"],
            target_modules="all-linear" if task["targets"] == "all" else TARGETS[task["targets"]],
            task_type="CAUSAL_LM",
        ),
    )
    trainer.train()
    trainer.save_model(str(Path(task["output"]) / "result"))
    found = versions("torch", "transformers", "peft", "trl")
    return figures | {"adapter": str(Path(task["output"]) / "result"), "versions": found}


def _common(task: dict[str, Any]) -> dict[str, Any]:
    """TrainingArguments of a rival; in bfloat16 they are made to compute in it as their manuals say."""
    return {
        **TRAINING,
        "seed": task["seed"],
        "output_dir": str(Path(task["output"]) / "result"),
        "num_train_epochs": 1.0,
        "per_device_train_batch_size": task["batch"],
        "lr_scheduler_type": "linear",
        "warmup_steps": WARMUP,
        "bf16": task["dtype"] == "bfloat16",
        "use_cpu": not task["cuda"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """The mean held-out loss of each one's adapters, the operations per token, and the rate of its products."""
    import torch
    from camelid_core.models.loading import choose_dtype, load_base
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host
    from camelid_core.tokenization.encoder import IGNORE, Example
    from camelid_train.loop.loss import mean_loss
    from camelid_train.monitoring.flops import training_flops
    from peft import PeftModel

    base = load_base(resolve_model(task["model"], load_host()), task["dtype"])
    held = [Example(row["input_ids"], row["labels"]) for row in task["heldout"]]
    model = None
    losses: dict[str, list[float]] = {who: [] for who in task["adapters"]}
    for who, adapter in [(who, each) for who, found in task["adapters"].items() for each in found]:
        base = base if model is None else model.unload()
        model = PeftModel.from_pretrained(base, adapter, is_trainable=True)
        losses[who].append(mean_loss(model, held, 0, 16))
    lengths = [len(row["input_ids"]) for row in task["tokens"]]
    labels = sum(label != IGNORE for row in task["tokens"] for label in row["labels"][1:])
    layers = [layer for name, layer in model.named_modules() if type(layer) is torch.nn.Linear and "lora_" not in name]
    shapes = Counter(tuple(layer.weight.shape) for layer in layers if layer is not model.get_output_embeddings())
    at_once = round(sum(lengths) / len(lengths) * task["batch"])
    rate, per_cpu = _rate(shapes, at_once, choose_dtype(task["dtype"]), base.device)
    operations = training_flops(model).per_token(lengths, labels)
    return {
        "losses": {who: statistics.mean(found) for who, found in losses.items()},
        "labels": labels,
        "operations_per_token": operations,
        "operations_per_second": rate,
        "operations_per_cpu_second": per_cpu,
    }


def _rate(shapes: Counter[Any], rows: int, dtype: Any, device: Any) -> tuple[float, float]:
    """Operations of products with matrices of these shapes, each as often as the model has it: per second by the
    clock, and per second of the processor."""
    import torch

    clock = cpu = operations = 0.0
    for (wide, deep), count in shapes.items():
        weight = torch.randn(wide, deep, device=device).to(dtype)
        forward, backward = (torch.randn(rows, width, device=device).to(dtype) for width in (deep, wide))
        for left, right in ((forward, weight.T), (backward, weight)):
            seconds, spent = _fastest(left, right)
            clock, cpu = clock + count * seconds, cpu + count * spent
        operations += count * 4.0 * rows * wide * deep
    return operations / clock, operations / cpu


def _fastest(left: Any, right: Any, tries: int = 60) -> tuple[float, float]:
    """Seconds of the clock and of the processor, each of the best try."""
    import torch

    seconds, spent = [], []
    for _ in range(tries):
        began, used = time.perf_counter(), time.process_time()
        _ = left @ right
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        spent.append(time.process_time() - used)
    return min(seconds), max(1e-9, min(spent))


CALLED = {"rows": rows, "ours": ours, "llamafactory": llamafactory, "trl": trl, "measure": measure}
