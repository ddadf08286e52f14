"""Stands in for `vllm serve`: takes the arguments that Camelid gives vLLM, to the letter, and runs the real server that
is here in its place. Not a test."""

from __future__ import annotations

import argparse
import os
import sys


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16", "float16"], required=True)
    parser.add_argument("--max-num-seqs", required=True)
    parser.add_argument("--generation-config", choices=["vllm"], required=True)
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--max-lora-rank", type=int)
    parser.add_argument("--lora-modules", nargs="*", default=[])
    parser.add_argument("--fail", action="store_true")
    given = parser.parse_args()
    if given.fail:
        sys.exit(f"no graphics card was found, and the key is {os.environ['VLLM_API_KEY']}")
    os.environ["CAMELID_API_KEY"] = os.environ["VLLM_API_KEY"]
    os.environ["CAMELID_HOME"] += "-within"  # the one that started it writes its address down there
    models = [f"{given.served_model_name}={given.model}", *given.lora_modules]
    server = [sys.executable, "-m", "camelid_core.cli", "serve", *models, "--host", given.host, "--port", given.port]
    os.execv(sys.executable, [*server, "--dtype", given.dtype, "--slots", given.max_num_seqs])


if __name__ == "__main__":
    main()
