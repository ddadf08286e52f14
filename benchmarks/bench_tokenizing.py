"""Tokenising for training, side by side with LLaMA-Factory 0.9.5: rows per second from the same JSON file.

    python benchmarks/bench_tokenizing.py --model DIR [--rows-from FILE] [--rival-env DIR]
    python benchmarks/bench_tokenizing.py --model DIR --memory 1000000

Both read the same Alpaca JSON, render the same bytes (LLaMA-Factory's template `alpaca`), use the tokenizer
in DIR, two workers and a cut-off of 512, and end with examples on disk. They take turns, each time in a fresh
process with an empty cache, so whatever else the machine does hits both; the ratio is the median of the pairs'.
Importing libraries and loading the tokenizer is not timed. Three figures are given for each: `whole`, rows per
second from the file; `alone`, of tokenising only (theirs: its `map` over rows already read and aligned; ours:
`TokenCache.encode` over records already read, shards hashed and synced to disk included); and `cpu_seconds`
of the whole, all processes together, which says the same on a machine that has other work to do.

The ids of the first rows are compared. They differ in one place: LLaMA-Factory tokenises its system text apart
from the instruction, which gives "\\n\\n" as one token there; ours are the ids of the whole prompt encoded at
once. Rows longer than the cut-off differ too: it shortens question and answer in proportion, we cut the end.

`--memory N` runs ours alone on N generated rows as a stream and gives the most memory it held.

LLaMA-Factory runs in an environment of its own (`--rival-env`, made there if it is missing): its own
`get_dataset`, nothing of it changed. Its import of torchaudio, which text never reaches, is stood in for
where that library cannot be loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rivals import REQUIREMENTS, home_of, machine, python_of, stand_in

ROWS = 91_300
CUTOFF = 512
SAMPLE = 2000
"""Rows whose ids are compared."""

ENGLISH = (
    "the of and to in is that for it as with on be are this by an or from at which one have not can has more will "
    "about their when use people time water make how many other some could than into year work first may such over "
    "new know take used most made between world life number part system example different following important word "
    "sentence list write describe explain give find answer question story data model company customer product price "
    "market health energy food animal plant light music book school student teacher country city government language "
    "history science research study result process method problem solution reason change growth increase reduce "
    "improve create develop design build learn understand provide include support require consider allow help keep "
    "small large high low long short good better best early late full open common simple complex natural human public "
    "social economic environmental technology computer software internet information communication education family "
    "child friend woman man person group team member leader service quality value cost benefit risk opportunity skill "
    "ability experience knowledge idea feeling emotion happiness travel ocean mountain forest river weather climate "
    "temperature summer winter morning evening night day week month hour minute second third equation triangle circle "
    "percent average total difference distance speed weight volume area square metre kilogram dollars recipe chocolate "
    "vegetable healthy delicious beautiful wonderful powerful efficient sustainable renewable artificial intelligence"
)


def generated(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Rows with the lengths of Alpaca's: a dozen words asked, two of five with an input, some forty answered."""
    random_ = random.Random(seed)
    words_ = ENGLISH.split()
    weights = [1 / (rank + 3) for rank in range(len(words_))]

    def text(words: int) -> str:
        chosen = random_.choices(words_, weights, k=max(2, words))
        for place in range(random_.randint(3, 14), len(chosen), 14):
            chosen[place] += random_.choice([",", ".", ";", ".\n", f" {random_.randint(1, 2000)}"])
        return " ".join(chosen).capitalize() + random_.choice(".?!")

    for _ in range(count):
        yield {
            "instruction": text(random_.randint(6, 18)),
            "input": text(random_.randint(5, 25)) if random_.random() < 0.4 else "",
            "output": text(int(random_.lognormvariate(3.5, 0.8))),
        }


def tiled(path: Path, count: int) -> Iterator[dict[str, str]]:
    """The rows of an Alpaca JSON file over and over, each copy with a number of its own so that no two are equal."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    for number in range(count):
        row = rows[number % len(rows)]
        copy = number // len(rows)
        mark = f" ({copy})" if copy else ""
        yield {
            "instruction": f"{row['instruction']}{mark}",
            "input": row.get("input") or "",
            "output": row["output"],
        }


def ours(data: Path, model: Path, workers: int, out: Path) -> dict[str, Any]:
    """One run of ours, in this process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as Camelid sets it: workers share the cores, not each batch
    import tokenizers
    import transformers
    from camelid_core.readers import read
    from camelid_core.token_cache import TokenCache
    from camelid_core.tokenization.encoder import Encoder

    encoder = Encoder(transformers.AutoTokenizer.from_pretrained(model, local_files_only=True), _same_bytes())
    with tempfile.TemporaryDirectory(dir=out) as cache:
        began, spent = time.perf_counter(), cpu_seconds()
        view = TokenCache(Path(cache, "whole")).encode(read(data), encoder, workers=workers).view(CUTOFF)
        whole, cpu = time.perf_counter() - began, cpu_seconds() - spent
        records = list(read(data))
        began = time.perf_counter()
        TokenCache(Path(cache, "again")).encode(records, encoder, workers=workers).view(CUTOFF)
        alone = time.perf_counter() - began
        sample = [example.input_ids for example in view[:SAMPLE]]
    versions = {module.__name__: module.__version__ for module in (tokenizers, transformers)}
    figures = {"rows": len(view), "whole": whole, "alone": alone, "cpu": cpu}
    return {**figures, "sample": sample, "texts": encoder.tokenizer.batch_decode(sample), "versions": versions}


def _same_bytes() -> Any:
    from camelid_core.templates.role_template import RoleTemplate
    from camelid_core.templates.segments import EOS

    return RoleTemplate(
        name="llamafactory-alpaca",
        help="LLaMA-Factory's template of that name, byte for byte, so that both tokenise the same text.",
        system="{content}",
        default_system="Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n",
        user="### Instruction:\n{content}\n\n### Response:\n",
        assistant="",
        answer_end=f"{EOS}\n\n",
    )


def memory(rows: int, model: Path, workers: int) -> dict[str, Any]:
    """Tokenise `rows` generated rows as a stream; the most memory the process held, before and after."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from camelid_core.records import alpaca
    from camelid_core.token_cache import TokenCache
    from camelid_core.tokenization.encoder import Encoder
    from transformers import AutoTokenizer

    encoder = Encoder(AutoTokenizer.from_pretrained(model, local_files_only=True), _same_bytes())
    records = (alpaca(row["instruction"], row["output"], row["input"], source="made") for row in generated(rows))
    before = _peak_megabytes()
    with tempfile.TemporaryDirectory() as folder:
        cache = TokenCache(Path(folder))
        view = cache.encode(records, encoder, workers=workers).view(CUTOFF)
        made, on_disk = _peak_megabytes(), sum(entry.bytes for entry in cache.entries())
        order = random.Random(0)
        for _ in range(min(rows, 20_000)):
            view[order.randrange(len(view))]
    figures = {"before": before, "tokenised": made, "and_20000_rows_read_at_random": _peak_megabytes()}
    tokens = view.counts.total_tokens
    return {"rows": rows, "tokens": tokens, "megabytes_on_disk": round(on_disk / 1e6), "peak_megabytes": figures}


def _peak_megabytes() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def theirs(data: Path, model: Path, workers: int, out: Path) -> dict[str, Any]:
    """One run of LLaMA-Factory's own preprocessing, in this process; it runs in its own environment."""
    home = Path(tempfile.mkdtemp(dir=out))
    os.environ |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    stand_in("torchaudio")
    import tokenizers
    import transformers
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer, loader
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    (home / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": str(data)}}), encoding="utf-8")
    model_args, data_args, training_args, _, _ = get_train_args(
        {
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "model_name_or_path": str(model),
            "dataset": "rows",
            "dataset_dir": str(home),
            "template": "alpaca",
            "cutoff_len": CUTOFF,
            "overwrite_cache": True,
            "preprocessing_num_workers": workers,
            "output_dir": str(home / "out"),
            "report_to": "none",
        }
    )
    modules = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(modules["tokenizer"], data_args)
    alone = 0.0
    preprocess = loader._get_preprocessed_dataset

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal alone
        began = time.perf_counter()
        result = preprocess(*arguments, **options)
        alone += time.perf_counter() - began
        return result

    loader._get_preprocessed_dataset = timed
    began, spent = time.perf_counter(), cpu_seconds()
    found = get_dataset(template, model_args, data_args, training_args, stage="sft", **modules)["train_dataset"]
    whole, cpu = time.perf_counter() - began, cpu_seconds() - spent
    versions = {module.__name__: module.__version__ for module in (tokenizers, transformers)}
    sample = found[:SAMPLE]["input_ids"]
    figures = {"rows": len(found), "whole": whole, "alone": alone, "cpu": cpu}
    return {**figures, "sample": sample, "texts": modules["tokenizer"].batch_decode(sample), "versions": versions}


def cpu_seconds() -> float:
    """Of this process and of those it started that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def one_run(python: Path | str, who: str, data: Path, arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    result = scratch / "result.json"
    result.unlink(missing_ok=True)
    command = [str(python), __file__, "--as", who, "--model", str(arguments.model), "--rows-from", str(data)]
    command += ["--workers", str(arguments.workers), "--out", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not result.exists():
        sys.exit(f"{who} failed:\n{done.stderr[-4000:]}")
    return json.loads(result.read_text(encoding="utf-8"))


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    python = python_of("llamafactory", arguments.rival_env)
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = scratch / "rows.json"
        source = tiled(arguments.rows_from, arguments.rows) if arguments.rows_from else generated(arguments.rows)
        data.write_text(json.dumps(list(source), ensure_ascii=False), encoding="utf-8")
        for number in range(arguments.runs):
            for who, interpreter in (("theirs", python), ("ours", sys.executable)):
                found = one_run(interpreter, who, data, arguments, scratch)
                rates = {part: found["rows"] / found[part] for part in ("whole", "alone")}
                print(
                    f"run {number + 1} {who}: {rates['whole']:,.0f} rows/s, {found['cpu']:.1f} s CPU", file=sys.stderr
                )
                runs[who].append(found | {"rates": rates})
    return _report(runs, arguments)


def _report(runs: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> dict[str, Any]:
    rates = {
        who: {part: [run["rates"][part] for run in found] for part in ("whole", "alone")} for who, found in runs.items()
    }

    def ratios(part: str) -> list[float]:
        return [a / b for a, b in zip(rates["ours"][part], rates["theirs"][part], strict=True)]

    pairs = list(zip(runs["ours"][-1]["sample"], runs["theirs"][-1]["sample"], strict=True))
    texts = list(zip(runs["ours"][-1]["texts"], runs["theirs"][-1]["texts"], strict=True))
    cpu = {who: [round(run["cpu"], 1) for run in found] for who, found in runs.items()}
    return {
        "rows": runs["ours"][-1]["rows"],
        "rows_from": arguments.rows_from.name if arguments.rows_from else "generated",
        "workers": arguments.workers,
        "cutoff": CUTOFF,
        "rows_per_second": {
            who: {part: [round(rate) for rate in values] for part, values in parts.items()}
            for who, parts in rates.items()
        },
        "ratio": round(statistics.median(ratios("whole")), 2),
        "ratio_tokenising_alone": round(statistics.median(ratios("alone")), 2),
        "ratios": [round(ratio, 2) for ratio in ratios("whole")],
        "cpu_seconds": cpu,
        "ratio_cpu": round(statistics.median(b / a for a, b in zip(cpu["ours"], cpu["theirs"], strict=True)), 2),
        "tokens_per_row": round(statistics.mean(len(ids) for ids, _ in pairs), 1),
        "compared": {
            "rows": len(pairs),
            "same_text": sum(a == b for a, b in texts),
            "same_ids": sum(a == b for a, b in pairs),
            "same_ids_but_for_one_place": sum(max(differing(a, b)) <= 2 for a, b in pairs),
        },
        "versions": {
            "python": platform.python_version(),
            "ours": runs["ours"][-1]["versions"],
            "theirs": {
                "llamafactory": REQUIREMENTS["llamafactory"][0].partition("==")[2],
                **runs["theirs"][-1]["versions"],
            },
        },
        "cpu": machine(),
    }


def differing(one: list[int], two: list[int]) -> tuple[int, int]:
    """How many ids of each are left between what both begin with and what both end with."""
    shorter = min(len(one), len(two))
    start = next((n for n in range(shorter) if one[n] != two[n]), shorter)
    end = next((n for n in range(shorter - start) if one[-1 - n] != two[-1 - n]), shorter - start)
    return len(one) - start - end, len(two) - start - end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="directory with the tokenizer both use")
    parser.add_argument("--rows-from", type=Path, help="an Alpaca JSON file to repeat instead of generated rows")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rival-env", type=Path, default=home_of("llamafactory"))
    parser.add_argument("--memory", type=int, metavar="N", help="ours alone on N rows: peak memory")
    parser.add_argument("--as", dest="who", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.who:
        run = {"ours": ours, "theirs": theirs}[arguments.who]
        result = run(arguments.rows_from, arguments.model, arguments.workers, arguments.out)
        (arguments.out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    elif arguments.memory:
        print(json.dumps(memory(arguments.memory, arguments.model, arguments.workers), indent=2))
    else:
        print(json.dumps(compare(arguments), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
