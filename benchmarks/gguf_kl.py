"""What each mixture of GGUF loses: KL divergence per token and equal top tokens, with and without importance matrix.

    python benchmarks/gguf_kl.py --model DIR [--data cot-arithmetic-en] [--rows 32] [--mixtures q8_0,q4_k_m]

The source computes in float32 with Transformers, the files in llama.cpp, and the tokens of answers are compared, as in
`camelid prove`, on held-out rows of `--data`, or the first rows of a file. The importance matrix is of the rows that
follow. Standard errors are clustered by text. Prints a line of JSON for each file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

MIXTURES = "q8_0,q6_k,q5_k_m,q4_k_m,q4_0,iq4_xs,q3_k_m,q2_k"
LONGEST = 256
"""Tokens of a text; of longer ones the beginning is taken."""


def main() -> None:
    from camelid_core.datasets.sources import open_dataset
    from camelid_core.models.loading import load_base, load_tokenizer
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.models.template_choice import template_of
    from camelid_core.plugins import load_host
    from camelid_core.tokenization.encoder import Encoder
    from camelid_gguf.testing import write_gguf
    from camelid_serve.evaluations.proof.tokenized_texts import tokenized_texts

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default="cot-arithmetic-en")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--calibration-rows", type=int, default=128)
    parser.add_argument("--mixtures", default=MIXTURES)
    options = parser.parse_args()
    host = load_host()
    source = resolve_model(options.model, host)
    encoder = Encoder(load_tokenizer(source), template_of(source, host))
    records = open_dataset(options.data, host.datasets).load("heldout", None)
    chosen = list(islice(records, options.rows + options.calibration_rows))
    texts, _ = tokenized_texts(encoder, chosen[: options.rows], LONGEST)
    plain = load_base(source, "float32")
    expected = [in_transformers(plain, text) for text in texts]
    matrix = importances(source, plain, encoder, chosen[options.rows :])
    del plain
    with tempfile.TemporaryDirectory() as folder:
        for mixture in options.mixtures.split(","):
            for weights in (None, matrix):
                begun = time.monotonic()
                file = write_gguf(source.base, Path(folder) / "it.gguf", mixture, weights)
                row = {"mixture": mixture, "imatrix": weights is not None, "bytes": file.stat().st_size}
                found = compared(expected, in_llamacpp(file, texts))
                print(json.dumps({**row, **found, "seconds": round(time.monotonic() - begun, 1)}), flush=True)


def importances(source: Any, plain: Any, encoder: Any, records: Sequence[Any]) -> Mapping[str, Any]:
    from camelid_gguf import importances
    from camelid_gguf.model_file import plan

    weighted = plan(source, "q4_k_m", weighted=True).weighted
    targets = {planned.source.removesuffix(".weight"): name for name, planned in weighted.items()}
    rows = [encoder.example(record.messages).input_ids[:LONGEST] for record in records]
    return importances.computed(plain, targets, rows, ["calibration"]).importances


def in_transformers(model: Any, text: Any) -> Any:
    """[counted tokens, vocabulary]: log-probabilities that each was read with."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([list(text.ids)])).logits[0]
    return logits[torch.tensor(text.counted) - 1].float().log_softmax(-1)


def in_llamacpp(file: Path, texts: Sequence[Any]) -> list[Any]:
    import torch
    from camelid_llamacpp.model import BatchToken, GgufModel

    loaded, found = GgufModel(file, 1, "float32"), []
    try:
        for text in texts:
            loaded.evict_all()
            logits = loaded.decode([BatchToken(token, at, 0, True) for at, token in enumerate(text.ids)])
            found.append(logits[torch.tensor(text.counted) - 1].log_softmax(-1))
    finally:
        loaded.close()
    return found


def compared(expected: Sequence[Any], found: Sequence[Any]) -> dict[str, Any]:
    from camelid_serve.evaluations.proof.clustered_estimates import clustered_mean

    counts = [len(each) for each in expected]
    pairs = list(zip(expected, found, strict=True))
    divergence = clustered_mean([float((ours.exp() * (ours - theirs)).sum()) for ours, theirs in pairs], counts)
    equal = clustered_mean([int((ours.argmax(-1) == theirs.argmax(-1)).sum()) for ours, theirs in pairs], counts)
    largest = max(float((ours.exp() * (ours - theirs)).sum(-1).max()) for ours, theirs in pairs)
    return {"texts": len(counts), "tokens": sum(counts), "kl": divergence.as_json(), "kl_max": largest,
            "top_equal": equal.as_json()}  # fmt: skip


if __name__ == "__main__":
    main()
