"""Fine-tuning, side by side with LLaMA-Factory 0.9.5 or trl's SFTTrainer: tokens per second on the same rows.

    python benchmarks/bench_train.py --model DIR --rival llamafactory|trl [--targets q,v|all] [--rank 8]
                                     [--rows 200] [--rounds 3] [--rival-env DIR] [--keep-activations] [--growth 20]

Both get the same token ids and labels (Camelid's, of problems of `cot-arithmetic` or of an Alpaca JSON file), the same
base (stored in the number format that all compute in), seed, learning rate, schedule and LoRA, one epoch, batches
of 4. They take turns, each time in a
fresh process. The rival is as it comes: both recompute activations in the backward pass by default, which Camelid
does only where memory runs out; `--keep-activations` switches that off for them. Rows are in an order of the
program's own, another in each round (the round's number is the seed).

Counted is the loop alone, from the Trainer's `on_train_begin` to the end of its last step, by one and the same callback
in all programs; loading, tokenising and saving are not in it. Tokens are those of the rows, without padding, so they
are the same for all. `cpu_seconds` of the loop say the same on a machine that has other work to do. The loss compared
is that of the finished adapters on the same held-out rows, measured by the same code.

The roofline is what the machine's matrix products allow: their measured rate at this model's shapes and this batch's
number of tokens (forward and for the gradient of the input, fastest of several, weighted by how often each shape
occurs), divided by the operations per token as `camelid_train.monitoring.flops` counts them (Kaplan et al. 2020,
with frozen weights, labelled positions and the causal half of attention taken into account). `of_roofline` is the share
reached by the clock, `of_roofline_by_cpu` by the processor's seconds, which other work does not take part of.

`--growth N` runs Camelid alone on the rows and on N times as many: the cost per token should be the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from rivals import call, machine, python_of, run
from training import CALLED, TARGETS

HELD_OUT = 32


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
    from camelid_core.models.loading import choose_device, choose_dtype

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
    parser.add_argument("--rival", choices=["llamafactory", "trl"], help="none runs Camelid alone")
    parser.add_argument("--rival-env", type=Path, help="its environment, made there if it is missing")
    parser.add_argument(
        "--keep-activations", action="store_true", help="the rival stores activations instead of recomputing them"
    )
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
    run(parser, CALLED, compare)


if __name__ == "__main__":
    main()
