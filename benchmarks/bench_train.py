"""Fine-tuning, side by side with LLaMA-Factory 0.9.5 or trl's SFTTrainer: tokens per second on the same rows.

    python benchmarks/bench_train.py --model DIR --rival llamafactory|trl [--targets q,v|all] [--rank 8]
                                     [--rows 200] [--rounds 3] [--rival-env DIR] [--keep-activations] [--growth 20]

Both get the same token ids and labels (Camelid's, of problems of `cot-arithmetic` or of an Alpaca JSON file), the same
base (stored in the number format that all compute in), seed, learning rate, schedule and LoRA, one epoch, batches
of 4. They take turns, each time in a
fresh process. The rival is as it comes: both make activations again in the backward pass by default, which Camelid
does only where memory runs out; `--keep-activations` switches that off for them. Rows are in an order of the
program's own, another in each round (the round's number is the seed).

Counted is the loop alone, from the Trainer's `on_train_begin` to the end of its last step, by one and the same callback
in all programs; loading, tokenising and saving are not in it. Tokens are those of the rows, without padding, so they
are the same for all. `cpu_seconds` of the loop say the same on a machine that has other work to do. The loss compared
is that of the finished adapters on the same held-out rows, measured by the same code.

The roofline is what the machine's matrix products allow: their measured rate at this model's shapes and this batch's
number of tokens (forward and for the gradient of the input, fastest of several, weighted by how often each shape
occurs), divided by the operations per token as `camelid_train.watching.flops` counts them (Kaplan et al. 2020,
with frozen weights, labelled positions and the causal half of attention taken into account). `of_roofline` is the share
reached by the clock, `of_roofline_by_cpu` by the processor's seconds, which other work does not take part of.

`--growth N` runs Camelid alone on the rows and on N times as many: the cost per token should be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rivals import answer, asked, call, machine, python_of, stand_in, versions

HELD_OUT = 32
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
    from camelid_core.loading import load_tokenizer
    from camelid_core.models import resolve_model
    from camelid_core.plugins import load_host
    from camelid_core.tokenizing import Encoder
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
    from camelid_core.jobs.attempt import Context
    from camelid_core.jobs.files import attempt_directory
    from camelid_train.sft import train

    directory = attempt_directory(Path(task["output"]), 1, 1)
    directory.mkdir(parents=True)
    context = Context(directory)
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
    from camelid_core.loading import choose_dtype, load_base
    from camelid_core.models import resolve_model
    from camelid_core.plugins import load_host
    from camelid_core.tokenizing import IGNORE, Example
    from camelid_train.loop.loss import mean_loss
    from camelid_train.watching.flops import cost_of
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
    operations = cost_of(model).per_token(lengths, labels)
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


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {"ours": []}
    interpreters: dict[str, Any] = {"ours": sys.executable}
    if arguments.rival:
        interpreters = {arguments.rival: python_of(arguments.rival, arguments.rival_env), **interpreters}
        runs[arguments.rival] = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        task = _task(arguments, scratch, arguments.rows)
        for number in range(arguments.rounds):
            for who, python in interpreters.items():
                runs[who].append(_run(who, python, task, scratch, number))
        measured = call(
            sys.executable, __file__, "measure",
            task | {"adapters": {who: [run["adapter"] for run in found] for who, found in runs.items()}}, scratch,
        )  # fmt: skip
        report = _report(arguments, task, runs, measured)
        if arguments.growth:
            more = _task(arguments, scratch, arguments.rows * arguments.growth)
            report["growth"] = _growth(runs["ours"], _run("ours", sys.executable, more, scratch, 0), task, more)
    return report


def _run(who: str, python: Any, task: dict[str, Any], scratch: Path, number: int) -> dict[str, Any]:
    output = scratch / f"{who}-{number}-{len(task['tokens'])}"
    found = call(python, __file__, who, task | {"output": str(output), "seed": number}, scratch)
    found["tokens_per_second"] = _tokens(task) / found["seconds"]
    print(
        f"round {number + 1} {who}: {found['tokens_per_second']:,.0f} tokens/s, {found['cpu_seconds']:.0f} s of CPU",
        file=sys.stderr,
    )
    return found


def _task(arguments: argparse.Namespace, scratch: Path, count: int) -> dict[str, Any]:
    from camelid_core.loading import choose_device, choose_dtype

    found = _some(arguments, count)
    files = {"train": found[:count], "heldout": found[count:]}
    for name, part in files.items():
        (scratch / f"{name}-{count}.json").write_text(json.dumps(part, ensure_ascii=False), encoding="utf-8")
    task = {
        "seed": 0,
        "model": str(arguments.model.resolve()),
        "dtype": str(choose_dtype(arguments.dtype)).removeprefix("torch."),
        "cuda": choose_device() == "cuda",
        "rank": arguments.rank,
        "targets": arguments.targets,
        "batch": arguments.batch,
        "compile": arguments.compile,
        "keep_activations": arguments.keep_activations,
        "as_stored": arguments.as_stored,
        **{name: str(scratch / f"{name}-{count}.json") for name in files},
    }
    tokenised = call(sys.executable, __file__, "rows", task, scratch)
    return task | {"tokens": tokenised["train"], "heldout": tokenised["heldout"], "model": tokenised["model"]}


def _some(arguments: argparse.Namespace, count: int) -> list[dict[str, str]]:
    """So many Alpaca rows, and some more to hold out."""
    if arguments.rows_from:
        found = json.loads(arguments.rows_from.read_text(encoding="utf-8"))
        train, held = found[:-HELD_OUT], found[-HELD_OUT:]
        return [train[number % len(train)] for number in range(count)] + held
    from camelid_core.builtin.cot_arithmetic import generate

    records = [*generate("train", count, languages=("en",)), *generate("heldout", HELD_OUT, languages=("en",))]
    return [
        {"instruction": record.messages[-2].content, "input": "", "output": record.messages[-1].content}
        for record in records
    ]


def _tokens(task: dict[str, Any]) -> int:
    return sum(len(row["input_ids"]) for row in task["tokens"])


def _report(
    arguments: argparse.Namespace, task: dict[str, Any], runs: dict[str, list[dict[str, Any]]], measured: dict[str, Any]
) -> dict[str, Any]:
    rival = arguments.rival
    report: dict[str, Any] = {
        "base_as_stored": task["as_stored"],
        "rows": len(task["tokens"]),
        "tokens": _tokens(task),
        "labelled": measured["labels"],
        **{name: task[name] for name in ("dtype", "targets", "rank", "batch", "compile")},
        "tokens_per_second": {
            who: [round(run["tokens_per_second"], 1) for run in found] for who, found in runs.items()
        },
        "cpu_seconds": {who: [round(run["cpu_seconds"], 1) for run in found] for who, found in runs.items()},
        "heldout_loss": measured["losses"],
        "mean_training_loss": {who: statistics.mean(found[-1]["losses"]) for who, found in runs.items()},
    }
    if rival:
        pairs = list(zip(runs["ours"], runs[rival], strict=True))
        ratios = [ours["tokens_per_second"] / theirs["tokens_per_second"] for ours, theirs in pairs]
        by_cpu = [theirs["cpu_seconds"] / ours["cpu_seconds"] for ours, theirs in pairs]
        losses = measured["losses"]
        report |= {
            "rival_makes_activations_again": not arguments.keep_activations,
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
            "ratio_by_cpu": round(statistics.median(by_cpu), 2),
            "loss_difference": f"{losses['ours'] / losses[rival] - 1:+.2%}",
        }
    allowed = measured["operations_per_second"] / measured["operations_per_token"]
    by_clock = [run["tokens_per_second"] / allowed for run in runs["ours"]]
    operations = report["tokens"] * measured["operations_per_token"]
    by_cpu = [operations / run["cpu_seconds"] / measured["operations_per_cpu_second"] for run in runs["ours"]]
    report["roofline"] = {
        "matmul_gflops": round(measured["operations_per_second"] / 1e9, 1),
        "gflop_per_token": round(measured["operations_per_token"] / 1e9, 3),
        "tokens_per_second": round(allowed, 1),
        "of_roofline": [round(share, 3) for share in by_clock],
        "of_roofline_by_cpu": None if task["cuda"] else [round(share, 3) for share in by_cpu],
    }
    report["versions"] = {who: found[-1]["versions"] for who, found in runs.items()}
    return report | {"machine": machine()}


def _growth(few: list[dict[str, Any]], many: dict[str, Any], small: Any, large: Any) -> dict[str, Any]:
    """Seconds per thousand tokens on some rows and on many times as many."""
    tokens, more = _tokens(small), _tokens(large)
    clock = [1000 * statistics.median(run["seconds"] for run in few) / tokens, 1000 * many["seconds"] / more]
    cpu = [1000 * statistics.median(run["cpu_seconds"] for run in few) / tokens, 1000 * many["cpu_seconds"] / more]
    return {
        "rows": [len(small["tokens"]), len(large["tokens"])],
        "seconds_per_1000_tokens": [round(value, 3) for value in clock],
        "cpu_seconds_per_1000_tokens": [round(value, 3) for value in cpu],
        "ratio": round(clock[1] / clock[0], 3),
        "ratio_by_cpu": round(cpu[1] / cpu[0], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a Transformers directory, such as SmolLM2-135M-Instruct's")
    parser.add_argument("--rival", choices=["llamafactory", "trl"], help="none runs Camelid alone")
    parser.add_argument("--rival-env", type=Path, help="its environment, made there if it is missing")
    parser.add_argument("--keep-activations", action="store_true", help="the rival does not make activations again")
    parser.add_argument("--as-stored", action="store_true", help="all read the base's files in the format they are in")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--rows-from", type=Path, help="an Alpaca JSON file instead of generated problems")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--targets", choices=list(TARGETS), default="q,v")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--compile", action="store_true", help="Camelid compiles the layers")
    parser.add_argument("--growth", type=int, metavar="N", help="run Camelid on N times the rows, too")
    parser.add_argument("--as", dest="who", choices=list(CALLED), help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}  # for all: idle threads sleep
    if arguments.who:
        answer(arguments.task, CALLED[arguments.who](asked(arguments.task)))
        return
    if arguments.model is None:
        parser.error("--model is needed: a Transformers directory")
    with tempfile.TemporaryDirectory() as home:  # nothing of earlier runs, nothing left behind
        os.environ["CAMELID_HOME"] = home
        print(json.dumps(compare(arguments), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
