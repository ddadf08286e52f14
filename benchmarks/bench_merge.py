"""Merging an adapter into a large random model: peak memory and time, layer by layer and beside PEFT's own way.

    python benchmarks/bench_merge.py [--gigabytes 3] [--directory DIR]

Makes a Llama of that size with random bfloat16 weights in shards of 500 MB and an adapter on all linear layers (r 16).
Merges in a process of its own, so that its peak memory is its own: by `camelid merge --memory layer`, by
`camelid merge --memory whole`, and by `peft.merge_and_unload` as its documentation has it. The disk's speed is that of
copying the model's files. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_WIDTH, _FEED, _VOCABULARY = 2048, 5632, 32000
_PER_LAYER = 4 * _WIDTH * _WIDTH + 3 * _WIDTH * _FEED
_PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
PeftModel.from_pretrained(base, sys.argv[2]).merge_and_unload().save_pretrained(sys.argv[3], max_shard_size="500MB")
"""


def make_model(directory: Path, gigabytes: float) -> None:
    import torch
    from camelid_core.models.weight_files import ShardWriter
    from camelid_core.testing import tiny_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    layers = max(1, round((gigabytes * 1e9 / 2 - 2 * _VOCABULARY * _WIDTH) / _PER_LAYER))
    config = LlamaConfig(
        hidden_size=_WIDTH, intermediate_size=_FEED, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=16, vocab_size=_VOCABULARY, tie_word_embeddings=False, dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    tiny_model(directory)
    (directory / "model.safetensors").unlink()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    parameters = dict(sorted(model.state_dict().items()))
    coming = {name: (torch.bfloat16, each.shape) for name, each in parameters.items()}
    with ShardWriter(directory, "model", 500_000_000, coming) as writer:
        for name, parameter in parameters.items():
            writer.add(name, (torch.randn(parameter.shape) * 0.02).to(torch.bfloat16))
    config.save_pretrained(directory)


def make_adapter(base: Path, directory: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    tuned = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    tuned = tuned.to_empty(device="cpu")
    state = {
        name.replace(".default", ""): (torch.randn(each.shape) * 0.02)
        for name, each in tuned.named_parameters()
        if "lora_" in name
    }
    tuned.peft_config["default"].base_model_name_or_path = str(base)
    tuned.peft_config["default"].save_pretrained(directory)
    from safetensors.torch import save_file

    save_file(state, directory / "adapter_model.safetensors", {"format": "pt"})
    for path in base.glob("*token*"):
        shutil.copy(path, directory)


def measured(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds, and the largest memory of the process or of one that it started, in GB."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return {"seconds": round(time.monotonic() - started, 1), "peak_gb": round(float(done.stdout.split()[-1]) / 1e6, 2)}


_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--ways", nargs="+", default=["layer", "peft", "whole"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        print(json.dumps(run(Path(temporary), options.gigabytes, options.ways), indent=2))


def run(root: Path, gigabytes: float, ways: list[str]) -> dict[str, object]:
    base, adapter = root / "base", root / "adapter"
    make_model(base, gigabytes)
    make_adapter(base, adapter)
    size = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    started = time.monotonic()
    shutil.copytree(base, root / "copy")
    os.sync()
    copying = time.monotonic() - started
    shutil.rmtree(root / "copy")
    environment = os.environ | {"CAMELID_HOME": str(root / "home"), "HF_HUB_OFFLINE": "1"}
    found: dict[str, object] = {"model_gb": round(size / 1e9, 2), "copy_gb_per_s": round(size / 1e9 / copying, 2)}
    camelid = [str(Path(sys.executable).parent / "camelid"), "merge", str(adapter), "--shard", "500MB"]
    for way in ways:
        out = root / way
        command = (
            [sys.executable, "-c", _PEFT, str(base), str(adapter), str(out)]
            if way == "peft"
            else [*camelid, "--memory", way, "--out", str(out)]
        )
        result = measured(command, environment)
        found[way] = result | {"gb_per_s": round(size / 1e9 / result["seconds"], 3)}
        shutil.rmtree(out, ignore_errors=True)
    return found


if __name__ == "__main__":
    main()
