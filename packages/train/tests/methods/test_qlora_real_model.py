"""QLoRA on the real 135M model: it learns in 4 and in 8 bits, and plain libraries load what it wrote."""

from __future__ import annotations

import pytest
import torch
from camelid_core.models.pull import pull
from camelid_core.plugins import load_host
from camelid_train.config import Recipe
from camelid_train.run import train
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

pytestmark = [pytest.mark.model, pytest.mark.timeout(3600)]
IDS = torch.tensor([[504, 1759, 282, 260, 3725, 314]])
QUANTISED = {
    "nf4": BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    ),
    "int8": BitsAndBytesConfig(load_in_8bit=True),
}


@pytest.fixture(scope="module")
def smollm(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMELID_HOME", str(tmp_path_factory.mktemp("models")))
        return pull("smollm2-135m", load_host(), print)


@pytest.mark.parametrize("quantization", ["nf4", pytest.param("int8", marks=pytest.mark.exhaustive)])
def test_qlora_learns_on_a_quantised_base_without_a_graphics_card(attempt, smollm, quantization):
    run = attempt()
    values = {
        "model": {"name": str(smollm), "dtype": "float32"},
        "data": {"sources": ["cot-arithmetic-en"], "template": "chatml", "cutoff": 160, "rows": 48, "eval_rows": 8},
        "method": {"type": "qlora", "quantization": quantization, "r": 8, "targets": ["all-linear"]},
        "train": {"batch_size": 4, "learning_rate": 2e-3, "log_steps": 1},
    }
    metrics = train(Recipe.model_validate(values), run)
    assert metrics["eval_loss"] < 0.7 * metrics["base_eval_loss"]
    plain = AutoModelForCausalLM.from_pretrained(
        smollm, dtype=torch.float32, quantization_config=QUANTISED[quantization]
    )
    with torch.inference_mode():
        before = plain(input_ids=IDS).logits
        after = PeftModel.from_pretrained(plain, run.output).eval()(input_ids=IDS).logits
    assert (after - before).abs().max() > 0.1
    assert plain.get_memory_footprint() < 0.55 * 4 * 134_515_008
