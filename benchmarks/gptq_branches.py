"""Every branch of a set of GPTQ recipes, made of a real model: is it the same by every address, and what does it lose?

    python benchmarks/gptq_branches.py MODEL --scratch DIR [--recipes tulu,3b128F] [--rows 32 --seqlen 256]

Run it where GPTQModel is installed. The branches are made by `camelid quantize` (what is in DIR already is kept),
published to a local hub in DIR, and each is loaded by Camelid (by its directory, as `hub:DIR/ORG/NAME:BRANCH`,
and as `ORG/NAME:BRANCH`), by Transformers without Camelid (`revision=`, and a git clone of the single branch) and by
GPTQModel itself. Each is compared with MODEL on held-out text. Prints a line of JSON for each branch, and one of all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = "local/measured-GPTQ"
CAMELID, TRANSFORMERS, GPTQMODEL = "camelid", "transformers", "gptqmodel"

_LOADERS = {
    CAMELID: """
from camelid_core.models.loading import load_base
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
load = lambda each: load_base(resolve_model(each["address"], load_host()), "float32")
""",
    TRANSFORMERS: """
import transformers
def load(each):
    plain = {"quantization_config": transformers.GPTQConfig(bits=each["bits"], backend="torch")} if each["odd"] else {}
    if each["revision"]:
        plain["revision"] = each["revision"]
    return transformers.AutoModelForCausalLM.from_pretrained(each["address"], dtype="float32", **plain)
assert not any(name.startswith("camelid") for name in sys.modules)
""",
    GPTQMODEL: """
from gptqmodel import BACKEND, GPTQModel
def load(each):
    plain = {"backend": BACKEND.TORCH} if each["odd"] else {}
    return GPTQModel.load(each["address"], device="cpu", **plain).model
""",
}
_SCORED = """
import json, sys, numpy, torch
{loader}
asked = json.loads(open(sys.argv[1]).read())
for each in asked["models"]:
    with torch.inference_mode():
        scores = load(each)(input_ids=torch.tensor([asked["ids"]])).logits.float().log_softmax(-1)
    numpy.save(each["file"], scores[0].numpy())
"""
"""A program of its own for each loader: logs of the probabilities at every position, for each model that it is told."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--scratch", type=Path, required=True, help="A directory for what is written, and kept.")
    parser.add_argument("--recipes", default="tulu,3b128F")
    parser.add_argument("--calibration", default="cot-arithmetic-en")
    parser.add_argument("--rows", type=int, default=32, help="Calibration rows.")
    parser.add_argument("--seqlen", type=int, default=256, help="Tokens of a calibration row.")
    parser.add_argument("--data", default="cot-arithmetic-en", help="Held-out text.")
    parser.add_argument("--texts", type=int, default=32, help="How many held-out texts.")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    made, hub = options.scratch.absolute() / "branches", options.scratch.absolute() / "hub"
    seconds = quantised(options, made)
    camelid("publish", made, "--to", hub, "--name", REPOSITORY, "--json")
    branches = json.loads((made / "camelid.json").read_text())["parameters"]["export"]["branches"]
    seen = loaded(options, made, hub, branches)
    for branch, found in lost(options, made, branches):
        print(json.dumps({"branch": branch, **seen[branch], **found}), flush=True)
    print(json.dumps({"model": options.model, "branches": len(branches), "seconds": seconds, "rows": options.rows,
        "seqlen": options.seqlen, "calibration": options.calibration, "data": options.data}))  # fmt: skip


def quantised(options: argparse.Namespace, target: Path) -> float | None:
    """Make the branches; the seconds that it took, None where they are there."""
    if target.is_dir():
        return None
    begun = time.monotonic()
    camelid(
        "quantize", options.model, "--recipes", options.recipes, "--calibration", options.calibration, "--rows",
        options.rows, "--seqlen", options.seqlen, "--out", target, "--json",
    )  # fmt: skip
    return round(time.monotonic() - begun, 1)


def loaded(options: argparse.Namespace, made: Path, hub: Path, branches: list[str]) -> dict[str, dict[str, Any]]:
    """Of each branch, whether every address gives the same, and how far apart the loaders are."""
    import numpy

    clones, ids = options.scratch.absolute() / "clones", token_ids(options)
    for branch in branches:
        if not (clones / branch).is_dir():
            command = ["git", "clone", "-q", "--single-branch", "--branch", branch, str(hub / REPOSITORY)]
            subprocess.run([*command, str(clones / branch)], check=True)
    found: dict[str, dict[str, Any]] = {branch: {} for branch in branches}
    for loader, addresses in {
        CAMELID: lambda branch: [(made / branch, ""), (f"hub:{hub}/{REPOSITORY}:{branch}", ""),
                                 (f"{REPOSITORY}:{branch}", "")],
        TRANSFORMERS: lambda branch: [(REPOSITORY, branch), (clones / branch, "")],
        GPTQMODEL: lambda branch: [(made / branch, "")],
    }.items():  # fmt: skip
        models = [
            {"address": str(address), "revision": revision, **kernel(made / branch), "branch": branch,
             "file": str(options.scratch.absolute() / f"{loader}-{branch}-{number}.npy")}
            for branch in branches for number, (address, revision) in enumerate(addresses(branch))
        ]  # fmt: skip
        scored(options, loader, models, ids, hub)
        for branch in branches:
            found[branch][loader] = [numpy.load(each["file"]) for each in models if each["branch"] == branch]
    return {branch: agreement(scores) for branch, scores in found.items()}


def agreement(scores: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Whether all addresses give Camelid and Transformers the same numbers, bit by bit; and how far GPTQModel is from
    them, which computes in float16."""
    first, *others = (each for loader in (CAMELID, TRANSFORMERS) for each in scores[loader])
    (half,) = scores[GPTQMODEL]
    return {
        "addresses": 1 + len(others),
        "equal_by_every_address": all(bool((each == first).all()) for each in others),
        "gptqmodel_apart": float(abs(half - first).max()),
        "gptqmodel_top_equal": float((half.argmax(-1) == first.argmax(-1)).mean()),
    }


def scored(options: argparse.Namespace, loader: str, models: list[dict[str, Any]], ids: list[int], hub: Path) -> None:
    missing = [each for each in models if not Path(each["file"]).is_file()]
    if not missing:
        return
    request = options.scratch.absolute() / f"{loader}.json"
    request.write_text(json.dumps({"models": missing, "ids": ids}))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub / ".cache")}
    program = _SCORED.format(loader=_LOADERS[loader])
    run([sys.executable, "-P", "-c", program, str(request)], environment, options.scratch)


def kernel(directory: Path) -> dict[str, Any]:
    """Bits, and whether the last group of a matrix is smaller, which GPTQModel's plain kernel alone computes."""
    from camelid_core.models.gptq_kernels import has_odd_groups
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host

    resolved = resolve_model(str(directory), load_host())
    return {"bits": resolved.config["quantization_config"]["bits"], "odd": has_odd_groups(resolved)}


def token_ids(options: argparse.Namespace) -> list[int]:
    """Those of a held-out row under the model's template."""
    from camelid_core.datasets.sources import open_dataset
    from camelid_core.models.loading import load_tokenizer
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.models.template_choice import template_of
    from camelid_core.plugins import load_host
    from camelid_core.tokenization.encoder import Encoder

    host = load_host()
    source = resolve_model(options.model, host)
    record = next(iter(open_dataset("cot-arithmetic-en", host.datasets).load("heldout", 1)))
    ids: list[int] = Encoder(load_tokenizer(source), template_of(source, host)).example(record.messages).input_ids
    return ids


def lost(options: argparse.Namespace, made: Path, branches: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each branch, with its divergence from the model, and its perplexity, on held-out text."""
    from camelid_core.models.loading import load_base
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.plugins import load_host
    from divergence import compared, held_out, in_transformers

    host = load_host()
    source = resolve_model(options.model, host)
    texts, _ = held_out(source, options.data, options.texts)
    plain = load_base(source, "float32")
    expected = [in_transformers(plain, text) for text in texts]
    del plain
    for branch in branches:
        model = load_base(resolve_model(str(made / branch), host), "float32")
        found = compared(texts, expected, [in_transformers(model, text) for text in texts])
        export = json.loads((made / branch / "camelid.json").read_text())["parameters"]["export"]
        size = (made / branch / "model.safetensors").stat().st_size
        yield branch, {"bytes": size, "seconds": export["seconds"], **found}


def camelid(*arguments: object) -> str:
    """The last line that the program prints."""
    return run([sys.executable, "-P", "-m", "camelid_core.cli", *map(str, arguments)], os.environ, None).splitlines()[
        -1
    ]


def run(command: list[str], environment: Mapping[str, str], directory: Path | None) -> str:
    workers = {"GPTQMODEL_CPU_WORKERS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**workers, **environment}, cwd=directory
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:6])} …\n{done.stderr[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
