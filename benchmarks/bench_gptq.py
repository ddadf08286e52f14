"""Quantising with GPTQ: `camelid quantize` beside GPTQModel called by hand, on the same rows and settings.

    python benchmarks/bench_gptq.py MODEL --calibration cot-arithmetic-en --rows 128 --seqlen 512 [--recipe 4b64F]

Run it where GPTQModel is installed. Both are whole commands, from a process's start to files on the disk; each is run
`--times` times, in turn, and the shortest time counts. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BY_HAND = """
import json, sys, torch
from gptqmodel import GPTQModel, QuantizeConfig
request = json.loads(open(sys.argv[1]).read())
config = QuantizeConfig(**request["config"])
model = GPTQModel.load(request["model"], config)
model.quantize(request["rows"], batch_size=1)
model.save(request["out"])
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--calibration", default="cot-arithmetic-en")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--recipe", default="4b64F")
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--scratch", type=Path, required=True, help="An empty directory for what is written.")
    options = parser.parse_args()
    options.scratch = options.scratch.absolute()
    options.scratch.mkdir(parents=True, exist_ok=True)
    request = by_hand_request(options)
    ours, theirs = [], []
    for turn in range(options.times):
        theirs.append(timed([sys.executable, "-P", "-c", BY_HAND, str(request)], options.scratch))
        ours.append(timed(camelid_command(options, options.scratch / f"ours-{turn}"), options.scratch))
    result = {
        "model": options.model, "recipe": options.recipe, "rows": options.rows, "seqlen": options.seqlen,
        "camelid_seconds": min(ours), "gptqmodel_seconds": min(theirs), "ratio": min(ours) / min(theirs),
        "all": {"camelid": ours, "gptqmodel": theirs},
    }  # fmt: skip
    print(json.dumps(result))


def by_hand_request(options: argparse.Namespace) -> Path:
    """The settings and calibration rows of Camelid as a file for GPTQModel alone."""
    from camelid_core.models.loading import load_tokenizer
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.models.template_choice import template_of
    from camelid_core.plugins import load_host
    from camelid_core.tokenization.encoder import Encoder
    from camelid_gptq.calibration import calibration_rows
    from camelid_gptq.recipes import read_recipes
    from camelid_gptq.section import GptqSection
    from camelid_train.export.calibration_data import calibration_data

    host = load_host()
    source = resolve_model(options.model, host)
    encoder = Encoder(load_tokenizer(source), template_of(source, host))
    section = GptqSection(calibration=[options.calibration], rows=options.rows, seqlen=options.seqlen)
    (recipe,) = read_recipes([options.recipe])
    config: dict[str, Any] = {
        "bits": recipe.bits, "group_size": recipe.group_size, "desc_act": recipe.desc_act,
        "damp_percent": recipe.damp, "act_group_aware": not recipe.desc_act and recipe.group_size > 0,
    }  # fmt: skip
    data = calibration_data(source, section.calibration, host, print)
    rows = calibration_rows(data, section, encoder, print).rows
    path: Path = options.scratch / "request.json"
    out = str(options.scratch / "theirs")
    path.write_text(json.dumps({"model": str(source.base), "config": config, "rows": rows, "out": out}))
    return path


def camelid_command(options: argparse.Namespace, out: Path) -> list[str]:
    from camelid_gptq.recipes import read_recipes

    (recipe,) = read_recipes([options.recipe])
    return [
        sys.executable, "-P", "-m", "camelid_core.cli", "quantize", options.model, "--bits", str(recipe.bits),
        "--group-size", str(recipe.group_size), *(["--desc-act"] if recipe.desc_act else []),
        "--calibration", options.calibration, "--rows", str(options.rows), "--seqlen", str(options.seqlen),
        "--out", str(out),
    ]  # fmt: skip


def timed(command: list[str], directory: Path) -> float:
    begun = time.monotonic()
    environment = os.environ | {"GPTQMODEL_CPU_WORKERS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, cwd=directory)
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
