"""Kinds of servers, as data: names of request fields, wire format, arguments of their start.

Knows names of fields, paths and arguments, and what is exact with whom. Does nothing.

Where the names come from, read in November 2026:
  vLLM          vllm/entrypoints/openai/completion/protocol.py (`return_token_ids`, `return_tokens_as_token_ids`,
                `stop_token_ids`, `top_k` 0 is off), cli_args.py (`--lora-modules name=path`), docs/features/lora.md
  SGLang        python/sglang/srt/entrypoints/openai/protocol.py (`return_token_ids`, `top_k` -1 is off),
                docs.sglang.io: server arguments, LoRA serving (`--lora-paths name=path`)
  llama.cpp     tools/server/README.md (`/completion`: id arrays, `return_tokens`, `n_probs`, `stop_type`; `/health`)
  Ollama        docs/api.md (`/api/generate` with `raw`: no template is put around the prompt), `OLLAMA_HOST`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_OPENAI = {"max_new_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed"}
_VLLM = {**_OPENAI, "top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"}
_LLAMA = {
    "max_new_tokens": "n_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "seed": "seed",
}


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """How a server is started. Texts may name {model} {name} {port} {dtype} {slots} {gguf}.

    `health` is the path that responds 200 once the model is loaded; `key_variable` the variable of its environment
    that holds the key it is to ask for; `adapters` are the arguments where there are any, followed by `adapter` for
    each, and {rank} is the least of `ranks` that all fit in; `add_adapter` and `remove_adapter` are the paths to post
    to while it runs; `weights` is what the program reads: a Transformers directory, a GGUF file, or models of its own.
    """

    program: str
    arguments: tuple[str, ...]
    health: str
    install: str
    environment: Mapping[str, str] = field(default_factory=dict)
    key_variable: str = ""
    adapters: tuple[str, ...] = ()
    adapter: str = "{name}={path}"
    ranks: tuple[int, ...] = ()
    add_adapter: str = ""
    remove_adapter: str = ""
    weights: Literal["transformers", "gguf", "own"] = "transformers"
    offered: bool = True


@dataclass(frozen=True, slots=True)
class Flavour:
    """One kind of server.

    `wire_format` names the form of requests and answers; `owned_by` is how the server's list of models tells it;
    `prompt` is how prompts are sent. `fields` maps our sampling settings to theirs, settings that are missing there
    must be off; `off` is what they write where we write 0. `always` goes with every request, `with_logprobs` with those
    that ask for probabilities, which is impossible where it is None. `stop_ids` is their field for stop tokens.
    `exact` says whether token ids and log-probabilities are exactly the server's. `adapter_model` is the model name of
    an adapter in a request. `context_at` is the path, and keys in its JSON, of the context length where the list of
    models has none. `context_fields` are set to the context length: else Ollama truncates prompts silently, and
    penalties count the last few tokens alone. `context_most` limits it.
    """

    name: str
    title: str
    exact: str
    wire_format: Literal["openai", "llama", "ollama"] = "openai"
    owned_by: str = ""
    prompt: Literal["ids", "text"] = "ids"
    fields: Mapping[str, str] = field(default_factory=lambda: _OPENAI)
    off: Mapping[str, Any] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    with_logprobs: Mapping[str, Any] | None = None
    stop_ids: str = ""
    adapter_model: str = "{adapter}"
    context_at: tuple[str, ...] = ()
    context_fields: tuple[str, ...] = ()
    context_most: int = 1 << 20
    launch: LaunchSpec | None = None


_BOTH = "Prompts go out and answers come back as token ids"
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)

FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour(
            "vllm",
            "vLLM",
            f"{_BOTH}; probabilities come by token id.",
            owned_by="vllm",
            fields=_VLLM,
            always={"return_token_ids": True},
            with_logprobs={"return_tokens_as_token_ids": True},
            stop_ids="stop_token_ids",
            launch=LaunchSpec(
                program="vllm",
                arguments=(
                    *("serve", "{model}", "--served-model-name", "{name}", "--host", "127.0.0.1", "--port", "{port}"),
                    *("--dtype", "{dtype}", "--max-num-seqs", "{slots}", "--generation-config", "vllm"),
                ),
                health="/health",
                install="install vLLM in an environment of its own (`uv venv vllm && uv pip install -p vllm vllm`; its "
                "pins do not go with Camelid's) and name the program: program=/path/to/vllm/bin/vllm",
                environment={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"},
                key_variable="VLLM_API_KEY",
                adapters=("--enable-lora", "--max-lora-rank", "{rank}", "--lora-modules"),
                ranks=_RANKS,
                add_adapter="/v1/load_lora_adapter",
                remove_adapter="/v1/unload_lora_adapter",
            ),
        ),
        Flavour(
            "sglang",
            "SGLang",
            f"{_BOTH}; probabilities of the likeliest tokens come as texts, of which some are no single token.",
            owned_by="sglang",
            fields=_VLLM,
            off={"top_k": -1},
            always={"return_token_ids": True},
            with_logprobs={},
            stop_ids="stop_token_ids",
            adapter_model="{name}:{adapter}",
            launch=LaunchSpec(
                program="sglang",
                arguments=(
                    *("serve", "--model-path", "{model}", "--served-model-name", "{name}"),
                    *("--host", "127.0.0.1", "--port", "{port}", "--dtype", "{dtype}"),
                    *("--max-running-requests", "{slots}", "--sampling-defaults", "openai"),
                ),
                health="/health",
                install="install SGLang in an environment of its own (`uv venv sgl && uv pip install -p sgl sglang`; "
                "its pins do not go with Camelid's) and name the program: program=/path/to/sgl/bin/sglang",
                adapters=("--enable-lora", "--max-lora-rank", "{rank}", "--lora-paths"),
                ranks=_RANKS,
                add_adapter="/load_lora_adapter",
                remove_adapter="/unload_lora_adapter",
            ),
        ),
        Flavour(
            "llama-server",
            "llama.cpp's server",
            f"{_BOTH}; probabilities come by token id. Weights are what the GGUF file holds.",
            wire_format="llama",
            owned_by="llamacpp",
            fields=_LLAMA,
            always={"return_tokens": True},
            context_fields=("repeat_last_n",),
            with_logprobs={},
            context_at=("/props", "default_generation_settings", "n_ctx"),
            launch=LaunchSpec(
                program="llama-server",
                arguments=(
                    *("--model", "{gguf}", "--alias", "{name}", "--host", "127.0.0.1", "--port", "{port}"),
                    *("--parallel", "{slots}", "--kv-unified", "--no-webui"),
                ),
                health="/health",
                install="get llama.cpp (`brew install llama.cpp`, a release from its pages, or built from source) and "
                "name the program: program=/path/to/llama-server",
                key_variable="LLAMA_API_KEY",
                weights="gguf",
            ),
        ),
        Flavour(
            "ollama",
            "Ollama",
            "Text both ways: prompts are written out with their control tokens, answers encoded again with the model's "
            "own tokenizer. Ids can differ from those it chose though the text is the same.",
            wire_format="ollama",
            owned_by="library",
            prompt="text",
            fields={**_LLAMA, "max_new_tokens": "num_predict"},
            context_fields=("num_ctx", "repeat_last_n"),
            context_most=8192,
            launch=LaunchSpec(
                program="ollama",
                arguments=("serve",),
                health="/api/version",
                install="get Ollama from ollama.com, or name the program: program=/path/to/ollama",
                environment={"OLLAMA_HOST": "127.0.0.1:{port}", "OLLAMA_NUM_PARALLEL": "{slots}"},
                weights="own",
            ),
        ),
        Flavour(
            "camelid",
            "Camelid",
            f"{_BOTH}; probabilities come by token id.",
            owned_by="camelid",
            fields={**_VLLM, "no_repeat_ngram_size": "no_repeat_ngram_size"},
            always={"return_token_ids": True},
            with_logprobs={"return_tokens_as_token_ids": True},
            stop_ids="stop_token_ids",
            launch=LaunchSpec(
                program="camelid",
                arguments=(
                    *("serve", "{name}={model}", "--host", "127.0.0.1", "--port", "{port}"),
                    *("--dtype", "{dtype}", "--slots", "{slots}"),
                ),
                health="/ready",
                install="pip install camelid-core 'camelid-serve[api]'",
                key_variable="CAMELID_API_KEY",
                offered=False,
            ),
        ),
        Flavour(
            "openai",
            "any server like OpenAI's",
            "Prompts go out as token ids, or as text where ids are refused; answers come as text and are encoded again "
            "with the model's own tokenizer. Ids can differ from those it chose though the text is the same.",
        ),
    )
}
"""By name. The last is for servers that none of the others is."""

GENERIC = FLAVOURS["openai"]


def flavour_of(owned_by: str) -> Flavour:
    """The flavour that lists its models so."""
    return next((each for each in FLAVOURS.values() if each.owned_by and each.owned_by == owned_by), GENERIC)
