"""What `bench_predict.py` measures, each called in a process of its own: predictions, and what the machine allows.

Knows Camelid, transformers and the rivals. Every side is a function of the task that all are told, and gives seconds,
texts and versions. Imports the standard library alone at the top: a rival's interpreter imports it, too.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rivals import stand_in, versions

RIVAL_BATCH = 8
DECODED_AT_ONCE = (8, 32, 64, 128, 256)
READ_AT_ONCE = 2048
CONTINUOUS_ROWS, CONTINUOUS_PAGE = 64, 32
LLAMACPP_ROWS = 32
_GGUF = {"float32": "f32", "float16": "f16", "bfloat16": "f16"}
"""What its file has for a number format; float16 stands for bfloat16, which it multiplies slowly on most machines."""


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
    from camelid_serve.config import EngineConfig
    from camelid_serve.loaded_models import load_model
    from camelid_serve.predict.inputs import open_input

    loaded = load_model(task["model"], load_host(), EngineConfig(template=task["template"], dtype=task["dtype"]))
    ids = [loaded.prompt_ids(row.messages) for row in open_input(task["input"]).rows() if not row.error]
    return {"prompts": ids, "stops": sorted(loaded.stops), "template": loaded.template.name}


def ours(task: dict[str, Any]) -> dict[str, Any]:
    """A run of Camelid's predict task."""
    from camelid_core.jobs.attempt import AttemptContext
    from camelid_core.jobs.run_directories import attempt_directory
    from camelid_serve.config import PredictConfig
    from camelid_serve.predict import task as predict
    from camelid_serve.predict.inputs import PREDICTIONS

    figures: dict[str, Any] = {}
    answering = predict.generate_all

    def timed(*arguments: Any, **options: Any) -> Any:
        began, spent = time.perf_counter(), time.process_time()
        yield from answering(*arguments, **options)
        figures["seconds"], figures["cpu_seconds"] = time.perf_counter() - began, time.process_time() - spent

    predict.generate_all = timed  # type: ignore[assignment]
    directory = attempt_directory(Path(task["output"]), 1, 1)
    directory.mkdir(parents=True)
    context = AttemptContext(directory)
    names = ("model", "input", "template", "dtype")
    sampling = {"max_new_tokens": task["new_tokens"]}
    given = {name: task[name] for name in names} | {"sampling": sampling}
    if task["batch_size"]:
        given["batch_size"] = task["batch_size"]
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


def continuous(task: dict[str, Any]) -> dict[str, Any]:
    """transformers' own continuous batching: paged keys and values, rows that join and leave."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=getattr(torch, task["dtype"]))
    model = model.to(task["device"]).eval()
    longest = max(map(len, task["prompts"])) + task["new_tokens"]
    pages = CONTINUOUS_ROWS * -(-longest // CONTINUOUS_PAGE)
    how = GenerationConfig(
        max_new_tokens=task["new_tokens"], do_sample=False, eos_token_id=task["stops"], pad_token_id=task["stops"][0]
    )
    room = ContinuousBatchingConfig(
        page_size=CONTINUOUS_PAGE, num_blocks=pages, max_batch_tokens=512, max_requests_per_batch=CONTINUOUS_ROWS
    )
    began, spent = time.perf_counter(), time.process_time()
    found = model.generate_batch(task["prompts"], generation_config=how, continuous_batching_config=room)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    answers = [found[key].generated_tokens for key in found]  # in the order of the prompts
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return {"seconds": seconds, "cpu_seconds": spent, "texts": texts, "versions": versions("torch", "transformers")}


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


def llamacpp(task: dict[str, Any]) -> dict[str, Any]:
    """llama.cpp's own server, called without HTTP, on a GGUF file of the same weights."""
    import xllamacpp
    from camelid_gguf.testing import write_gguf

    longest = max(map(len, task["prompts"])) + task["new_tokens"]
    settings = xllamacpp.CommonParams()
    settings.model.path = str(write_gguf(Path(task["model"]), Path(task["output"] + ".gguf"), _GGUF[task["dtype"]]))
    settings.port, settings.verbosity, settings.n_parallel = 0, -1, LLAMACPP_ROWS
    settings.n_ctx = LLAMACPP_ROWS * (-(-longest // 256) * 256)  # each row has its share, in pages of 256
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(settings)
    asked = {"prompt": task["prompts"], "max_tokens": task["new_tokens"], "temperature": 0}
    began, spent = time.perf_counter(), time.process_time()
    found = server.handle_completions(asked)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    texts = [each["text"] for each in sorted(found["choices"], key=lambda each: each["index"])]
    return {"seconds": seconds, "cpu_seconds": spent, "texts": texts, "versions": versions("xllamacpp")}


def roofline(task: dict[str, Any]) -> dict[str, Any]:
    """Seconds per token of this model's products: of prompts, of answers, and of the output matrix."""
    import torch
    from camelid_core.models.loading import choose_dtype, load_base
    from camelid_core.models.resolved_model import resolve_model
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


RIVALS = ("llamafactory", "continuous", "llamacpp")
"""Functions of this module that predict as others do."""

CALLED = {
    "converted": converted,
    "prompts": prompts,
    "ours": ours,
    "generate": generate,
    "llamafactory": llamafactory,
    "continuous": continuous,
    "llamacpp": llamacpp,
    "roofline": roofline,
}
