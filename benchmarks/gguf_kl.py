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
from pathlib import Path
from typing import Any

from divergence import compared, held_out, in_transformers

MIXTURES = "q8_0,q6_k,q5_k_m,q4_k_m,q4_0,iq4_xs,q3_k_m,q2_k"


def main() -> None:
    from camelid_core.models.loading import load_base
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host
    from camelid_gguf.testing import write_gguf

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default="cot-arithmetic-en")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--calibration-rows", type=int, default=128)
    parser.add_argument("--mixtures", default=MIXTURES)
    options = parser.parse_args()
    source = resolve_model(options.model, load_host())
    texts, calibration = held_out(source, options.data, options.rows, options.calibration_rows)
    plain = load_base(source, "float32")
    expected = [in_transformers(plain, text) for text in texts]
    matrix = importances(source, plain, calibration)
    del plain
    with tempfile.TemporaryDirectory() as folder:
        for mixture in options.mixtures.split(","):
            for weights in (None, matrix):
                begun = time.monotonic()
                file = write_gguf(source.base, Path(folder) / "it.gguf", mixture, weights)
                row = {"mixture": mixture, "imatrix": weights is not None, "bytes": file.stat().st_size}
                found = compared(texts, expected, in_llamacpp(file, texts))
                print(json.dumps({**row, **found, "seconds": round(time.monotonic() - begun, 1)}), flush=True)


def importances(source: Any, plain: Any, rows: Sequence[Sequence[int]]) -> Mapping[str, Any]:
    from camelid_gguf import importances
    from camelid_gguf.model_file import plan

    weighted = plan(source, "q4_k_m", weighted=True).weighted
    targets = {planned.source.removesuffix(".weight"): name for name, planned in weighted.items()}
    return importances.computed(plain, targets, rows, ["calibration"]).importances


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


if __name__ == "__main__":
    main()
