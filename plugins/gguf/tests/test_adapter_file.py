"""LoRA adapters as GGUF files: llama.cpp computes with base and adapter what PEFT computes."""

from __future__ import annotations

import ctypes

import pytest
import torch
from camelid_core.config import validate
from camelid_core.errors import ModelError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_gguf.testing import write_gguf
from camelid_llamacpp.model import BatchToken, GgufModel
from camelid_train.export import task
from camelid_train.export.config import ExportConfig

IDS = [5, 40, 77, 130, 201, 260, 300, 341]
OPTIONS = [
    ("llama", {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]}),
    ("llama", {"r": 6, "use_rslora": True, "target_modules": ["q_proj", "up_proj"]}),
    ("qwen2", {"r": 4, "rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 3, "layers.1.self_attn.v_proj": 20},
               "target_modules": ["q_proj", "v_proj"]}),
    ("gpt_neox", {"r": 4, "target_modules": ["query_key_value", "dense_4h_to_h"]}),
    ("phi3", {"r": 4, "target_modules": ["qkv_proj", "gate_up_proj"]}),
]  # fmt: skip


def tuned(base, directory, **options):
    """A foreign adapter of random weights, and the model with it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **options)).eval()
    adapted.save_pretrained(directory, save_embedding_layers=False)
    return adapted


def export(run, directory, **settings):
    task.export(validate(ExportConfig, {"source": str(directory), "to": {"type": "gguf-lora", **settings}}, "it"), run)
    return next(run.output.glob("*.gguf"))


def logits_with(base_file, adapter_file):
    loaded = GgufModel(base_file, 1, "float32")
    library = loaded._library
    library.llama_adapter_lora_init.restype = ctypes.c_void_p
    library.llama_adapter_lora_init.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.llama_set_adapters_lora.restype = ctypes.c_int32
    library.llama_set_adapters_lora.argtypes = [
        ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.POINTER(ctypes.c_float)
    ]  # fmt: skip
    try:
        adapter = library.llama_adapter_lora_init(loaded._model, str(adapter_file).encode())
        assert adapter, "llama.cpp does not load the adapter"
        scale = (ctypes.c_float * 1)(1.0)
        assert library.llama_set_adapters_lora(loaded._context, (ctypes.c_void_p * 1)(adapter), 1, scale) == 0
        return loaded.decode([BatchToken(token, at, 0, True) for at, token in enumerate(IDS)])
    finally:
        loaded.close()


@pytest.mark.parametrize(("family", "options"), OPTIONS)
def test_llamacpp_computes_with_base_and_adapter_what_peft_does(
    attempt, model, tmp_path, transformers_logits, family, options
):
    adapted = tuned(model(family), tmp_path / "adapter", **options)
    with torch.inference_mode():
        expected = adapted(torch.tensor([IDS])).logits[0]
    assert float((expected - transformers_logits(model(family), IDS)).abs().max()) > 0.05
    base = write_gguf(model(family), tmp_path / "base.gguf", "f32")
    found = logits_with(base, export(attempt(), tmp_path / "adapter"))
    assert float((found - expected).abs().max()) < 1e-2


def test_an_adapter_is_no_model(attempt, model, tmp_path):
    tuned(model(), tmp_path / "adapter", target_modules=["q_proj"])
    run = attempt()
    export(run, tmp_path / "adapter", quantization="f16")
    with pytest.raises(ModelError, match="GGUF file with a LoRA adapter; it holds no language model"):
        resolve_model(str(run.output), load_host())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"use_dora": True, "target_modules": ["q_proj"]}, "it has use_dora"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, "it has modules_to_save"),
        ({"target_modules": ["q_proj", "lm_head"]}, "it is on 'lm_head'"),
    ],
)
def test_what_llamacpp_cannot_put_on_a_model_is_refused(attempt, model, tmp_path, options, words):
    tuned(model(), tmp_path / "adapter", **options)
    run = attempt()
    with pytest.raises(ModelError, match=f"{words}.*merge it: --to gguf"):
        export(run, tmp_path / "adapter")
    assert not run.output.exists()


def test_a_whole_model_is_no_adapter(attempt, model):
    with pytest.raises(ModelError, match="is no adapter; 'gguf-lora' is made of adapters"):
        export(attempt(), model())
