"""Batch prediction, side by side with LLaMA-Factory's `do_predict` and with plain `generate`: rows per second.

    python benchmarks/bench_predict.py --model DIR [--rows 256] [--rows-from FILE] [--rounds 3] [--new-tokens 64]
                                       [--rival llamafactory] [--rival-env DIR] [--generate 8,32,64] [--batch-size 32]

All get the same prompts as token ids (Camelid's own template, of problems of `cot-arithmetic` or of a data file), the
same weights in the same number format (a copy is made where the files have another: LLaMA-Factory would compute in
that), greedy decoding and the same longest answer. LLaMA-Factory runs its own
`run_exp` with `do_predict` and `predict_with_generate` at batch size 8, without its metrics. Plain `generate` is
transformers', over left-padded batches in the order of the rows, for each batch size named. Camelid runs its `predict`
task as the command does. They take turns, each time in a fresh process.

Counted is the prediction alone, from the first prompt to the last answer; loading and writing are not in it. The texts
of all are compared with those of plain `generate` at the smallest batch size.

The roofline is what the machine's matrix products allow: the time of this model's products for all prompt tokens, at
the best rate of a large batch, and for all new tokens, at the best rate over batch sizes up to 256; attention, norms
and the choosing of tokens cost nothing in it. `with_shared_start` counts what all prompts begin with once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from rivals import answer, asked, call, machine, python_of, stand_in, versions

RIVAL_BATCH = 8
DECODED_AT_ONCE = (8, 32, 64, 128, 256)
READ_AT_ONCE = 2048


def converted(task: dict[str, Any]) -> dict[str, Any]:
    """The model in this number format: LLaMA-Factory predicts in whichever the files have."""
    from transformers import AutoConfig, AutoModelForCausalLM

    here, copy = Path(task["model"]), Path(task["copy"])
    if str(AutoConfig.from_pretrained(here).dtype).removeprefix("torch.") == task["dtype"]:
        return {"model": str(here), "converted": False}
    shutil.copytree(here, copy, ignore=shutil.ignore_patterns("*.safetensors*", "*.bin*", "*.gguf"))
    AutoModelForCausalLM.from_pretrained(here, dtype=task["dtype"]).save_pretrained(copy)
    return {"model": str(copy), "converted": True}


def prompts(task: dict[str, Any]) -> dict[str, Any]:
    """The rows' prompts as Camelid encodes them, and the tokens that end an answer."""
    from camelid_core.plugins import load_host
    from camelid_serve.assemble import assemble
    from camelid_serve.inputs import open_input

    assembled = assemble(task["model"], load_host(), task["template"], task["dtype"])
    ids = [assembled.prompt_ids(row.messages) for row in open_input(task["input"]).rows() if not row.error]
    return {"prompts": ids, "stops": sorted(assembled.stops), "template": assembled.template.name}


def ours(task: dict[str, Any]) -> dict[str, Any]:
    """A run of Camelid's predict task."""
    from camelid_core.jobs.attempt import Context
    from camelid_core.jobs.files import attempt_directory
    from camelid_serve import predict
    from camelid_serve.config import PredictConfig
    from camelid_serve.inputs import PREDICTIONS

    figures: dict[str, Any] = {}
    answering = predict.answer_many

    def timed(*arguments: Any, **options: Any) -> Any:
        began, spent = time.perf_counter(), time.process_time()
        yield from answering(*arguments, **options)
        figures["seconds"], figures["cpu_seconds"] = time.perf_counter() - began, time.process_time() - spent

    predict.answer_many = timed  # type: ignore[assignment]
    directory = attempt_directory(Path(task["output"]), 1, 1)
    directory.mkdir(parents=True)
    context = Context(directory)
    names = ("model", "input", "template", "dtype")
    sampling = {"max_new_tokens": task["new_tokens"]}
    given = {name: task[name] for name in names} | {"batch_size": task["batch_size"], "sampling": sampling}
    summary = predict.run(PredictConfig.model_validate(given), context)
    context.close()
    with (context.output / PREDICTIONS).open(encoding="utf-8") as file:
        texts = [json.loads(line).get("generate", "") for line in file]
    return figures | {"texts": texts, "tokens": summary["tokens"], "versions": versions("torch", "transformers")}


def generate(task: dict[str, Any]) -> dict[str, Any]:
    """transformers' own `generate` over batches in the order of the rows."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    dtype = getattr(torch, task["dtype"])
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=dtype).to(task["device"]).eval()
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else task["stops"][0]
    texts: list[str] = []
    began, spent = time.perf_counter(), time.process_time()
    for start in range(0, len(task["prompts"]), task["batch"]):
        batch = task["prompts"][start : start + task["batch"]]
        longest = max(map(len, batch))
        ids = torch.tensor([[pad] * (longest - len(each)) + each for each in batch], device=task["device"])
        mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in batch], device=task["device"])
        with torch.inference_mode():
            found = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=task["new_tokens"], do_sample=False,
                temperature=None, top_p=None, top_k=None, eos_token_id=task["stops"], pad_token_id=pad,
            )  # fmt: skip
        texts += tokenizer.batch_decode(found[:, longest:], skip_special_tokens=True)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    found = versions("torch", "transformers")
    return {"seconds": seconds, "cpu_seconds": spent, "texts": texts, "versions": found}


def llamafactory(task: dict[str, Any]) -> dict[str, Any]:
    """LLaMA-Factory's `run_exp` with `do_predict`, in its environment, on prompts that are tokenised already."""
    out = Path(task["output"])
    os.environ |= {"HF_HOME": str(out / "home"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    stand_in("torchaudio")
    import transformers
    from datasets import Dataset, DatasetDict
    from llamafactory.hparams import parser
    from llamafactory.train.sft import workflow
    from llamafactory.train.tuner import run_exp

    figures: dict[str, Any] = {}
    predict = transformers.Seq2SeqTrainer.predict

    def timed(self: Any, *arguments: Any, **options: Any) -> Any:
        began, spent = time.perf_counter(), time.process_time()
        result = predict(self, *arguments, **options)
        figures["seconds"], figures["cpu_seconds"] = time.perf_counter() - began, time.process_time() - spent
        return result

    transformers.Seq2SeqTrainer.predict = timed  # type: ignore[method-assign]
    parser._check_extra_dependencies = lambda *given: None  # packages for its scores, which are not measured
    workflow.ComputeSimilarity = lambda tokenizer: None
    empty = {"images": None, "videos": None, "audios": None}
    rows = [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids[-1:]} for ids in task["prompts"]]
    found = Dataset.from_list([row | empty for row in rows])
    DatasetDict({"validation": found}).save_to_disk(str(out / "rows"))
    run_exp(
        {
            "stage": "sft", "do_predict": True, "predict_with_generate": True, "model_name_or_path": task["model"],
            "tokenized_path": str(out / "rows"), "eval_dataset": "rows", "template": "empty", "cutoff_len": 4096,
            "infer_dtype": task["dtype"], "per_device_eval_batch_size": RIVAL_BATCH, "do_sample": False,
            "max_new_tokens": task["new_tokens"], "output_dir": str(out / "result"), "report_to": "none",
            "use_cpu": task["device"] == "cpu", "disable_tqdm": True, "overwrite_output_dir": True,
        }
    )  # fmt: skip
    lines = (out / "result" / "generated_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    found = versions("torch", "transformers", "llamafactory")
    return figures | {"texts": [json.loads(line)["predict"] for line in lines], "versions": found}


def roofline(task: dict[str, Any]) -> dict[str, Any]:
    """Seconds per token of this model's products: of prompts, of answers, and of the output matrix."""
    import torch
    from camelid_core.loading import choose_dtype, load_base
    from camelid_core.models import resolve_model
    from camelid_core.plugins import load_host

    model = load_base(resolve_model(task["model"], load_host()), task["dtype"])
    dtype, head = choose_dtype(task["dtype"]), model.get_output_embeddings()
    linear = [each for each in model.modules() if type(each) is torch.nn.Linear and each is not head]
    shapes = Counter(tuple(each.weight.shape) for each in linear)
    at_once = {rows: _seconds(shapes, rows, dtype, model.device) / rows for rows in (READ_AT_ONCE, *DECODED_AT_ONCE)}
    heads = {rows: _seconds(Counter([tuple(head.weight.shape)]), rows, dtype, model.device) / rows
             for rows in DECODED_AT_ONCE}  # fmt: skip
    decoding = min(at_once[rows] + heads[rows] for rows in DECODED_AT_ONCE)
    return {"read": at_once[READ_AT_ONCE], "decode": decoding}


def _seconds(shapes: Counter[Any], rows: int, dtype: Any, device: Any) -> float:
    """Fastest of several tries of products of so many rows with matrices of these shapes."""
    import torch

    total = 0.0
    for (wide, deep), count in shapes.items():
        weight, given = torch.randn(wide, deep, device=device).to(dtype), torch.randn(rows, deep, device=device)
        given, best = given.to(dtype), float("inf")
        for _ in range(12):
            began = time.perf_counter()
            _ = torch.nn.functional.linear(given, weight)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
        total += count * best
    return total


CALLED = {
    "converted": converted,
    "prompts": prompts,
    "ours": ours,
    "generate": generate,
    "llamafactory": llamafactory,
    "roofline": roofline,
}


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    sides: dict[str, tuple[str, Any, dict[str, Any]]] = {
        f"generate-{size}": ("generate", sys.executable, {"batch": size}) for size in arguments.generate
    }
    if arguments.rival:
        sides[arguments.rival] = (arguments.rival, python_of(arguments.rival, arguments.rival_env), {})
    sides["ours"] = ("ours", sys.executable, {})
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


def _task(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Everything that all sides are told."""
    from camelid_core.loading import choose_device, choose_dtype

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
        report["ratio_to"][side] = {"median": round(statistics.median(ratios), 2), "all": [round(r, 2) for r in ratios]}
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
    parser.add_argument("--model", type=Path, help="a Transformers directory, such as SmolLM2-135M-Instruct's")
    parser.add_argument("--rival", choices=["llamafactory"], help="none compares with plain generate alone")
    parser.add_argument("--rival-env", type=Path, help="its environment, made there if it is missing")
    parser.add_argument("--generate", type=_sizes, default=(8, 32, 64), help="batch sizes of plain generate")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rows-from", type=Path, help="a data file instead of generated problems")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32, help="Camelid's")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--template", default="chatml")
    parser.add_argument("--as", dest="what", choices=list(CALLED), help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}  # for all: idle threads sleep
    if arguments.what:
        answer(arguments.task, CALLED[arguments.what](asked(arguments.task)))
        return
    if arguments.model is None:
        parser.error("--model is needed: a Transformers directory")
    with tempfile.TemporaryDirectory() as home:  # nothing of earlier runs, nothing left behind
        os.environ["CAMELID_HOME"] = home
        print(json.dumps(compare(arguments), indent=2, ensure_ascii=False))


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
