"""The second turn of a conversation: how long until its first token, with and without what the first turn read.

    python benchmarks/bench_turns.py --model DIR [--tokens 1000] [--answer 64] [--question 32] [--rounds 3]

A prompt and its answer are `tokens` long together; the next prompt is both and a question. Both are answered by the
embedded engine's batch, once with its store of what was read before and once without; they take turns. The first
tokens must be equal. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rivals import machine, versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a Transformers directory")
    parser.add_argument("--tokens", type=int, default=1000, help="of the first turn, its answer counted")
    parser.add_argument("--answer", type=int, default=64, help="tokens of the first answer")
    parser.add_argument("--question", type=int, default=32, help="tokens of the second question")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    print(json.dumps(measure(parser.parse_args()), indent=2))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    from camelid_core.models.loading import load_base
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host
    from camelid_serve.engines.decode_batch import DecodeBatch
    from camelid_serve.engines.memory_layout import with_transposed_weights
    from camelid_serve.engines.prefix_cache import PrefixCache

    model = with_transposed_weights(
        load_base(resolve_model(str(arguments.model.resolve()), load_host()), arguments.dtype).eval()
    )
    numbers = random.Random(0)
    found: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    for _ in range(arguments.rounds):
        words = [numbers.randrange(100, 10_000) for _ in range(arguments.tokens + arguments.question)]
        for how, batch in (("with", DecodeBatch(model)), ("without", DecodeBatch(model, PrefixCache(0)))):
            found[how].append(_second_turn(batch, words, arguments))
    firsts = [{run["first"] for run in runs} for runs in zip(*found.values(), strict=True)]
    ratios = {
        what: statistics.median(slow[what] / fast[what] for fast, slow in zip(*found.values(), strict=True))
        for what in ("seconds", "cpu")
    }
    return {
        "first_turn_tokens": arguments.tokens,
        "question_tokens": arguments.question,
        "seconds_to_first_token": {how: [round(run["seconds"], 4) for run in runs] for how, runs in found.items()},
        "cpu_seconds": {how: [round(run["cpu"], 4) for run in runs] for how, runs in found.items()},
        "ratio": round(ratios["seconds"], 1),
        "ratio_by_cpu": round(ratios["cpu"], 1),
        "same_first_tokens": sum(len(each) == 1 for each in firsts),
        "rounds": arguments.rounds,
        "versions": versions("torch", "transformers"),
        "machine": machine(),
    }


def _second_turn(batch: Any, words: Sequence[int], arguments: argparse.Namespace) -> dict[str, Any]:
    import torch
    from camelid_serve.engine import Request, Sampling
    from camelid_serve.engines.decode_batch import DecodeRow

    asked, question = words[: arguments.tokens - arguments.answer], words[arguments.tokens :]
    with torch.inference_mode():
        first = DecodeRow(Request(asked, Sampling(max_new_tokens=arguments.answer)), arguments.answer)
        batch.add([first])
        while batch.running:
            batch.step()
        batch.evict_finished()
        began, spent = time.perf_counter(), time.process_time()
        [(_, token)] = batch.add([DecodeRow(Request([*first.tokens, *question]), 2)])
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - spent, "first": token}


if __name__ == "__main__":
    main()
