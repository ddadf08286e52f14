"""Where a GGUF file in llama.cpp takes other greedy tokens than its source: is it the file, or llama.cpp's arithmetic?

    python benchmarks/gguf_ids.py --model DIR [--mixture q8_0] [--tokens 64]

The source answers 16 prompts greedily in float32, and every other way reads the same ids: at each answer's token it is
counted where another one would be taken. The ways are the file in llama.cpp, its F16 file there, the file's weights
dequantised in Transformers (float32), and the same with the inputs of every matrix rounded to 8 bits in blocks of 32,
as llama.cpp does with Q8_0. Prints a line of JSON for each way; `from_llamacpp_mean` is how far its logits are from
those of the file in llama.cpp. `gap` is by how much the source's probability of its
own token is larger than that of the token that is taken instead; `logit_error` is the largest and the mean over all
positions and tokens, each position's logits less their mean.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROMPTS = 16


def main() -> None:
    from camelid_core.models.loading import load_base
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--mixture", default="q8_0")
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    source = resolve_model(options.model, load_host())
    plain = load_base(source, "float32")
    rows = [(ids, answer(plain, ids, options.tokens)) for ids in prompts(source)]
    expected = [logits(plain, *row) for row in rows]
    del plain
    in_llamacpp = None
    for way, found in ways(source, options.mixture, rows):
        more = {} if in_llamacpp is None else {"from_llamacpp_mean": round(errors(in_llamacpp, found)[1], 5)}
        print(json.dumps({"way": way, **compared(expected, found, rows), **more}), flush=True)
        in_llamacpp = found if way == f"llama.cpp, {options.mixture}" else in_llamacpp


def prompts(source: Any) -> list[list[int]]:
    """Token ids of eight questions of all kinds, and of held-out problems."""
    from camelid_core.datasets.sources import open_dataset
    from camelid_core.models.loading import load_tokenizer
    from camelid_core.models.template_choice import template_of
    from camelid_core.plugins import load_host
    from camelid_core.records import Message
    from camelid_core.tokenization.encoder import Encoder
    from camelid_serve.evaluations.parity import PROMPTS as QUESTIONS

    host = load_host()
    encoder = Encoder(load_tokenizer(source), template_of(source, host))
    problems = open_dataset("cot-arithmetic-en", host.datasets).load("heldout", PROMPTS - len(QUESTIONS))
    asked = [*QUESTIONS, *(record.messages[0].content for record in problems)]
    return [encoder.prompt_ids([Message("user", text)]) for text in asked]


def answer(model: Any, ids: Sequence[int], tokens: int) -> list[int]:
    """So many greedy tokens, also where the answer would end before."""
    import torch

    given = torch.tensor([list(ids)])
    whole = model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=tokens, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    found: list[int] = whole[0, len(ids) :].tolist()
    return found


def logits(model: Any, ids: Sequence[int], answered: Sequence[int]) -> Any:
    """[answer's tokens, vocabulary], in float32: what each token was chosen from."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor([[*ids, *answered[:-1]]])).logits[0, len(ids) - 1 :].float()


def ways(source: Any, mixture: str, rows: Sequence[Any]) -> Any:
    """Name and logits of each way, one after the other."""
    from camelid_core.models.loading import load_base
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host
    from camelid_gguf.testing import round_inputs, write_gguf

    with tempfile.TemporaryDirectory() as folder:
        for each in dict.fromkeys(("f16", mixture)):
            file = write_gguf(source.base, Path(folder) / f"{each}.gguf", each)
            yield f"llama.cpp, {each}", llamacpp(file, rows)
        back = Path(folder) / "back"
        export = ["-P", "-m", "camelid_core.cli", "export", str(file), "--to", "transformers", "dtype=float32"]
        subprocess.run([sys.executable, *export, "--out", str(back)], check=True, stdout=subprocess.DEVNULL)
        model = load_base(resolve_model(str(back), load_host()), "float32")
        yield f"transformers, {mixture} dequantised", [logits(model, *row) for row in rows]
        round_inputs(model)
        yield f"transformers, {mixture} dequantised, inputs rounded", [logits(model, *row) for row in rows]


def llamacpp(file: Path, rows: Sequence[Any]) -> list[Any]:
    from camelid_llamacpp.model import BatchToken, GgufModel

    found = []
    for ids, answered in rows:
        loaded = GgufModel(file, 1, "float32")
        try:
            tokens = [*ids, *answered[:-1]]
            batch = [BatchToken(token, at, 0, at >= len(ids) - 1) for at, token in enumerate(tokens)]
            found.append(loaded.decode(batch).clone())
        finally:
            loaded.close()
    return found


def compared(expected: Sequence[Any], found: Sequence[Any], rows: Sequence[Any]) -> dict[str, Any]:
    """Where another token is taken than the source's, and how far the logits are from the source's."""
    gaps, equal = [], 0
    for ours, theirs, (_, answered) in zip(expected, found, rows, strict=True):
        other, probabilities = theirs.argmax(-1).tolist(), ours.softmax(-1)
        gaps += [
            float(probabilities[at, token] - probabilities[at, taken])
            for at, (token, taken) in enumerate(zip(answered, other, strict=True)) if token != taken
        ]  # fmt: skip
        equal += other == list(answered)
    largest, mean = errors(expected, found)
    counts = {"differ": len(gaps), "of": sum(len(answered) for _, answered in rows), "prompts_equal": equal}
    gaps = [round(gap, 5) for gap in sorted(gaps)]
    return {**counts, "gaps": gaps, "logit_error_max": round(largest, 4), "logit_error_mean": round(mean, 5)}


def errors(expected: Sequence[Any], found: Sequence[Any]) -> tuple[float, float]:
    """The largest and the mean difference of logits, those of each position less their mean."""
    off = [
        ((theirs - theirs.mean(-1, keepdim=True)) - (ours - ours.mean(-1, keepdim=True))).abs()
        for ours, theirs in zip(expected, found, strict=True)
    ]
    return max(float(each.max()) for each in off), sum(float(each.mean()) for each in off) / len(off)


if __name__ == "__main__":
    main()
