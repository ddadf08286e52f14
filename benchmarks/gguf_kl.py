"""What each mixture of GGUF loses: KL divergence per token and equal top tokens, with and without importance matrix.

    python benchmarks/gguf_kl.py --model DIR [--data cot-arithmetic-en] [--rows 32] [--mixtures q8_0,q4_k_m]

Each file is made by `camelid export` and compared with its source by `camelid prove`, on held-out rows of `--data`; the
importance matrix is computed once, on training rows of it. Prints a line of JSON for each file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MIXTURES = "q8_0,q6_k,q5_k_m,q4_k_m,q4_0,iq4_xs,q3_k_m,q2_k"


def camelid(*arguments: object) -> str:
    command = [sys.executable, "-P", "-m", "camelid_core.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode > 1 or not done.stdout.strip():
        raise SystemExit(done.stderr[-3000:])
    return done.stdout.splitlines()[-1]


def exported(model: Path, mixture: str, out: Path, *settings: str) -> Path:
    camelid("export", model, "--to", "gguf", f"quantization={mixture}", *settings, "--out", out)
    return out


def measured(model: Path, export: Path, options: argparse.Namespace) -> dict[str, Any]:
    found = json.loads(
        camelid(
            "prove", model, export, "--data", options.data, "--rows", options.rows, "--no-record", "--json",
            "sample_tokens=1",
        )
    )  # fmt: skip
    results = found.get("results", found)
    return {
        name: results[name] for name in sorted(results) if name.startswith(("kl_", "top_equal", "perplexity_ratio"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", default="cot-arithmetic-en")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--calibration-rows", type=int, default=128)
    parser.add_argument("--mixtures", default=MIXTURES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, matrix = Path(folder), ""
        for mixture in options.mixtures.split(","):
            plain = exported(options.model, mixture, root / mixture)
            if not matrix:
                rows = f"calibration_rows={options.calibration_rows}"
                first = exported(options.model, mixture, root / "first", f"calibration={options.data}", rows)
                matrix = str(next(first.glob("*imatrix.gguf")))
            weighted = exported(options.model, mixture, root / f"{mixture}-imatrix", f"imatrix={matrix}")
            for file, name in ((plain, ""), (weighted, "imatrix")):
                size = max(path.stat().st_size for path in file.glob("*.gguf") if "imatrix" not in path.name)
                row = {"mixture": mixture, "weighted": name, "bytes": size}
                print(json.dumps(row | measured(options.model, file, options)), flush=True)


if __name__ == "__main__":
    main()
