"""What each mixture of GGUF takes: bytes beside the estimate, seconds, and the error of the weights.

    python benchmarks/gguf_errors.py --model DIR [--calibration cot-arithmetic-en] [--rows 64] [--mixtures q8_0,q4_k_m]

The error is the root mean square of what quantising changed, over that of the weights, of all matrices at once; with
`--calibration` also with an importance matrix, and then weighted by it, which is what it makes smaller.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def errors(file: Path, originals: Mapping[str, Any], matrix: Mapping[str, Any] | None) -> dict[str, float]:
    """Relative errors of the matrices, plain and weighted by the matrix."""
    from gguf import GGUFReader, quants

    sums = np.zeros(4)
    for tensor in GGUFReader(file).tensors:
        original = originals[tensor.name].read().numpy()
        if original.ndim < 2:
            continue
        off = (quants.dequantize(np.array(tensor.data), tensor.tensor_type).reshape(original.shape) - original) ** 2
        sums[:2] += off.sum(), (original**2).sum()
        if matrix and tensor.name in matrix:
            weights = matrix[tensor.name].numpy()
            sums[2:] += (off * weights).sum(), (original**2 * weights).sum()
    found = {"error": float((sums[0] / sums[1]) ** 0.5)}
    return found | ({"weighted_error": float((sums[2] / sums[3]) ** 0.5)} if matrix else {})


def importance_matrix(source: Any, names: list[str], rows: int) -> Mapping[str, Any]:
    from camelid_core.models.loading import load_base, load_tokenizer
    from camelid_core.models.template_choice import template_of
    from camelid_core.plugins import load_host
    from camelid_core.tokenization.encoder import Encoder
    from camelid_gguf import importances
    from camelid_gguf.calibration import calibration_rows
    from camelid_gguf.model_file import plan
    from camelid_train.export.calibration_data import calibration_data

    host = load_host()
    encoder = Encoder(load_tokenizer(source), template_of(source, host))
    data = calibration_data(source, names, host, print)
    found = calibration_rows(data, rows, encoder)
    weighted = plan(source, "q4_k_m", weighted=True).weighted
    targets = {planned.source.removesuffix(".weight"): name for name, planned in weighted.items()}
    return importances.computed(load_base(source, "float32"), targets, found.rows, found.sources).importances


def main() -> None:
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host
    from camelid_gguf.exporter import GGUF
    from camelid_gguf.mixtures import MIXTURES
    from camelid_gguf.model_file import plan
    from camelid_gguf.section import GgufSection
    from camelid_gguf.testing import write_gguf

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", default="")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--mixtures", default=",".join(name for name in MIXTURES if name != "q2_k_s"))
    arguments = parser.parse_args()
    source = resolve_model(str(arguments.model), load_host())
    originals = plan(source, "f32").layout.tensors
    names = [arguments.calibration] if arguments.calibration else []
    matrix = importance_matrix(source, names, arguments.rows) if names else None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "it.gguf"
        for mixture in arguments.mixtures.split(","):
            for weights in [None, matrix] if matrix else [None]:
                began = time.perf_counter()
                write_gguf(arguments.model, file, mixture, weights)
                seconds = time.perf_counter() - began
                section = GgufSection(quantization=mixture, imatrix="x" if weights else "")
                size = file.stat().st_size
                row = {"mixture": mixture, "imatrix": weights is not None, "bytes": size, "seconds": round(seconds, 1)}
                row["estimate"] = round(GGUF.estimate(source, section).size / size, 5)
                print(json.dumps(row | errors(file, originals, matrix)), flush=True)


if __name__ == "__main__":
    main()
