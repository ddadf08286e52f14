"""Batch prediction, side by side with LLaMA-Factory's `do_predict` and with plain `generate`: rows per second.

    python benchmarks/bench_predict.py --model DIR [--rows 256] [--rows-from FILE] [--rounds 3] [--new-tokens 64]
                                       [--rival llamafactory] [--rival-env DIR] [--rival continuous] [--rival llamacpp]
                                       [--generate 8,32,64,128] [--batch-size N]

All get the same prompts as token ids (Camelid's own template, of problems of `cot-arithmetic` or of a data file), the
same weights in the same number format (a copy is made where the files have another: LLaMA-Factory would compute in
that), greedy decoding and the same longest answer. LLaMA-Factory runs its own
`run_exp` with `do_predict` and `predict_with_generate` at batch size 8, without its metrics. Plain `generate` is
transformers', over left-padded batches in the order of the rows, for each batch size named; `continuous` is its
`generate_batch`, `llamacpp` is llama.cpp's server on a GGUF file of these weights. Camelid runs its `predict` task as
the command does, with as many rows at once as it chooses unless --batch-size says otherwise. They take turns, each time
in a fresh process.

Counted is the prediction alone, from the first prompt to the last answer; loading and writing are not in it. The texts
of all are compared with those of plain `generate` at the smallest batch size.

`ratio_to` is by the clock and by the processor's seconds, which other work on the machine does not take part of.

The roofline is what the machine's matrix products allow: the time of this model's products for all prompt tokens, at
the best rate of a large batch, and for all new tokens, at the best rate over batch sizes up to 256; attention, norms
and the choosing of tokens cost nothing in it. `with_shared_start` counts what all prompts begin with once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from predicting import CALLED, RIVALS
from rivals import REQUIREMENTS, call, machine, python_of, run

Side = tuple[str, Path | str, dict[str, Any]]
"""What is called, by which interpreter, and what it is told beside the task."""


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    sides = _sides(arguments)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        task = _task(arguments, scratch)
        for number in range(arguments.rounds):
            for side, (what, python, more) in sides.items():
                found = call(
                    python, __file__, what, task | more | {"output": str(scratch / f"{side}-{number}")}, scratch
                )
                rate = found["rows_per_second"] = len(task["prompts"]) / found["seconds"]
                print(f"round {number + 1} {side}: {rate:.2f} rows/s", file=sys.stderr)
                runs[side].append(found)
        return _report(task, runs, call(sys.executable, __file__, "roofline", task, scratch))


def _sides(arguments: argparse.Namespace) -> dict[str, Side]:
    """Everybody who predicts. A rival has an environment of its own where `rivals` says what to install there."""
    sides: dict[str, Side] = {
        f"generate-{size}": ("generate", sys.executable, {"batch": size}) for size in arguments.generate
    }
    for rival in arguments.rival:
        python = python_of(rival, arguments.rival_env) if rival in REQUIREMENTS else sys.executable
        sides[rival] = (rival, python, {})
    return {**sides, "ours": ("ours", sys.executable, {})}


def _task(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Everything that all sides are told."""
    from camelid_core.models.loading import choose_device, choose_dtype

    rows = scratch / "rows.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for row in islice(_rows(arguments), arguments.rows):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    task = {
        "model": str(arguments.model.resolve()), "input": str(rows), "template": arguments.template,
        "dtype": str(choose_dtype(arguments.dtype)).removeprefix("torch."), "device": choose_device(),
        "new_tokens": arguments.new_tokens, "batch_size": arguments.batch_size,
    }  # fmt: skip
    task |= call(sys.executable, __file__, "converted", task | {"copy": str(scratch / "model")}, scratch)
    return task | call(sys.executable, __file__, "prompts", task, scratch)


def _rows(arguments: argparse.Namespace) -> Any:
    """Questions alone: the answers would only be scored."""
    if arguments.rows_from:
        from camelid_core.readers import read

        records = read(arguments.rows_from)
    else:
        from camelid_core.builtin.cot_arithmetic import generate as problems

        records = problems("train", arguments.rows, languages=("en",))
    for record in records:
        yield {"messages": [{"role": each.role, "content": each.text} for each in record.prompt]}


def _report(task: dict[str, Any], runs: dict[str, list[dict[str, Any]]], cost: dict[str, float]) -> dict[str, Any]:
    rates = {side: [run["rows_per_second"] for run in found] for side, found in runs.items()}
    plain = [side for side in runs if side.startswith("generate")]
    best = max(plain, key=lambda side: statistics.median(rates[side]))
    texts = {side: [text.strip() for text in found[-1]["texts"]] for side, found in runs.items()}
    count = len(task["prompts"])
    report: dict[str, Any] = {
        "rows": count,
        "prompt_tokens": sum(map(len, task["prompts"])),
        "new_tokens": runs["ours"][-1]["tokens"],
        **{name: task[name] for name in ("dtype", "converted", "device", "template", "batch_size")},
        "rows_per_second": {side: [round(rate, 3) for rate in found] for side, found in rates.items()},
        "cpu_seconds": {side: [round(run["cpu_seconds"], 1) for run in found] for side, found in runs.items()},
        "best_generate": best,
        "ratio_to": {},
        "same_text_as_generate": {
            side: sum(a == b for a, b in zip(found, texts[plain[0]], strict=True)) for side, found in texts.items()
        },
        "same_text_as_ours": {
            side: sum(a == b for a, b in zip(found, texts["ours"], strict=True)) for side, found in texts.items()
        },
    }
    for side in [name for name in runs if name != "ours"]:
        ratios = [mine / theirs for mine, theirs in zip(rates["ours"], rates[side], strict=True)]
        by_cpu = [b["cpu_seconds"] / a["cpu_seconds"] for a, b in zip(runs["ours"], runs[side], strict=True)]
        report["ratio_to"][side] = {
            "median": round(statistics.median(ratios), 2),
            "all": [round(ratio, 2) for ratio in ratios],
            "median_by_cpu": round(statistics.median(by_cpu), 2),
        }
    report["roofline"] = _roofline(task, report, statistics.median(rates["ours"]), cost)
    report["versions"] = {side: found[-1]["versions"] for side, found in runs.items()}
    return report | {"machine": machine()}


def _roofline(task: dict[str, Any], report: dict[str, Any], rate: float, cost: dict[str, float]) -> dict[str, Any]:
    rows = report["rows"]
    first, last = min(task["prompts"]), max(task["prompts"])
    common = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    decoding = report["new_tokens"] * cost["decode"]
    apart = rows / (report["prompt_tokens"] * cost["read"] + decoding)
    shared = rows / ((report["prompt_tokens"] - (rows - 1) * common) * cost["read"] + decoding)
    return {
        "seconds_per_1000_tokens": {name: round(1000 * value, 3) for name, value in cost.items()},
        "shared_start_tokens": common,
        "rows_per_second": round(apart, 2),
        "of_roofline": round(rate / apart, 3),
        "with_shared_start": {"rows_per_second": round(shared, 2), "of_roofline": round(rate / shared, 3)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival", action="append", default=[], choices=RIVALS, help="beside plain generate")
    parser.add_argument("--rival-env", type=Path, help="its environment, made there if it is missing")
    parser.add_argument("--generate", type=_sizes, default=(8, 32, 64, 128), help="batch sizes of plain generate")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rows-from", type=Path, help="a data file instead of generated problems")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, help="Camelid's; none lets it choose")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--template", default="", help="none takes the model's own")
    run(parser, CALLED, compare)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
