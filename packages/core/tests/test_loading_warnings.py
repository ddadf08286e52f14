"""Loading an adapter says nothing on the terminal that the person can do nothing about."""

from __future__ import annotations

import warnings

from camelid_core.models.loading import load_with_adapter
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model


def test_an_adapter_loads_without_a_warning(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "base"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_with_adapter(resolve_model(str(tmp_path / "adapter"), load_host()))
