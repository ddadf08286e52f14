"""The arithmetic of training, against a counter that watches it happen; and how fast machines are known to be."""

from __future__ import annotations

import pytest
import torch
from camelid_core.tokenization.encoder import IGNORE
from camelid_train.loop.loss import label_loss
from camelid_train.monitoring import peak_flops
from camelid_train.monitoring.flops import TrainingFlops, attention_pairs, mfu_per_token_rate, training_flops
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

ROWS, LENGTH, LABELS = 3, 24, 5


@pytest.fixture
def loaded(base):
    def load(family: str):
        return AutoModelForCausalLM.from_pretrained(base(family), dtype=torch.float32, attn_implementation="eager")

    return load


def counted(model, dtype: torch.dtype = torch.float32) -> float:
    """As training goes through it, products in `dtype`."""
    ids = torch.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) % 50
    labels = ids.clone()
    labels[:, :-LABELS] = IGNORE
    model.train()
    label_loss(model, ids, labels)  # which looks at the output layer once
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        label_loss(model, ids, labels).backward()
    return float(counter.get_total_flops())


def expected(model) -> float:
    """The counter sees the whole square of an attention, of which the formula charges the causal half."""
    return training_flops(model).of(ROWS * LENGTH, ROWS * LABELS, ROWS * LENGTH**2)


@pytest.mark.parametrize("family", ["llama", "bloom", "gpt_neox", "qwen2", "gemma"])
def test_full_fine_tuning_costs_what_is_counted(loaded, family):
    model = loaded(family)
    assert counted(model) == pytest.approx(expected(model), rel=0.005)
    assert counted(model, torch.bfloat16) == counted(model)


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear"])
def test_frozen_weights_cost_no_gradient_of_their_own(loaded, targets):
    model = loaded("llama")
    whole = expected(model)
    model = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
    # the first layer's input needs no gradient, and the formula does not know of it: of two layers that is something
    assert counted(model) <= expected(model) < counted(model) * 1.15
    assert expected(model) < whole * 0.8


def test_a_token_of_a_large_dense_model_costs_six_per_parameter():
    """The rule of thumb, where attention and the output layer are small beside the layers."""
    config = {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "vocab_size": 64}
    from transformers import LlamaConfig

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(intermediate_size=2048, **config))
    assert training_flops(model).per_token([16] * 4, 8) == pytest.approx(6 * model.num_parameters(), rel=0.02)


def test_of_experts_those_count_that_a_token_goes_through():
    from transformers import MixtralConfig

    def cost(used: int) -> float:
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = MixtralConfig(vocab_size=64, num_local_experts=8, num_experts_per_tok=used, **shape)
        with torch.device("meta"):
            return training_flops(AutoModelForCausalLM.from_config(config)).token

    one_expert = 3 * 32 * 64 * 2 * 6  # three matrices, two layers, six operations
    assert cost(4) - cost(2) == pytest.approx(2 * one_expert)


@given(st.lists(st.integers(1, 50), max_size=20))
def test_pairs_are_those_of_each_row_alone(lengths):
    assert attention_pairs(lengths) == sum(1 for length in lengths for row in range(length) for _ in range(row + 1))
    cost = TrainingFlops(token=2.0, label=3.0, pair=5.0)
    assert cost.per_token(lengths, 4) * sum(lengths) == pytest.approx(
        2 * sum(lengths) + (3 * 4 + 5 * attention_pairs(lengths) if lengths else 0)
    )


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("Tesla T4", 65),
        ("Tesla V100-SXM2-16GB", 125),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989.4),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", 80),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("AMD Instinct MI300X", 1307.4),
    ],
)
def test_cards_are_known_by_the_name_they_give(name, rate):
    assert peak_flops.table_peak(name, torch.bfloat16) == rate * 1e12


@pytest.mark.parametrize(
    "name",
    ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "A100X",
     "NVIDIA GH200 480GB", "NVIDIA GeForce RTX 4080 SUPER", ""],
)  # fmt: skip
def test_a_card_that_is_only_called_alike_is_not_known(name):
    assert peak_flops.table_peak(name, torch.bfloat16) is None


def test_float32_is_slower_and_shortened_factors_are_between():
    _, tensor, plain = peak_flops.PEAKS["A100"]
    assert peak_flops.table_peak("A100", torch.float32) == plain * 1e12
    assert peak_flops.table_peak("A100", torch.float32, shortened=True) == tensor * 1e12
    assert all(each[0] >= each[1] >= each[2] > 0 for each in peak_flops.PEAKS.values())


def test_what_is_not_known_is_measured_and_no_random_number_is_drawn():
    before = torch.random.get_rng_state()
    rate = peak_flops.measured_peak(torch.device("cpu"), torch.float32, 64, seconds=0.01)
    assert rate > 0
    assert torch.equal(torch.random.get_rng_state(), before)


def test_usage_is_the_share_per_token_and_unknown_where_layers_are_not_understood(loaded):
    model = loaded("llama")
    one = mfu_per_token_rate(model, [10, 20], 8)
    assert one == pytest.approx(
        training_flops(model).per_token([10, 20], 8) / peak_flops.device_peak(model.device, torch.float32, 64)
    )
    assert mfu_per_token_rate(model, [10, 20], 8, devices=2) == pytest.approx(one / 2)
    half = mfu_per_token_rate(
        model, [10, 20], 8, computed=torch.bfloat16
    )  # the weights are float32, and products are not
    assert half / one == pytest.approx(
        peak_flops.device_peak(model.device, torch.float32, 64)
        / peak_flops.device_peak(model.device, torch.bfloat16, 64)
    )
    assert mfu_per_token_rate(model, [], 0) is None
    assert mfu_per_token_rate(torch.nn.Linear(2, 2), [10], 5) is None
