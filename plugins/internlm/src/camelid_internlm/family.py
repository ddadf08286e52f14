"""InternLM 1, 2 and 3 as data: how they are tuned, and which checkpoints are converted how. All become LLaMA.

Source: the `config.json`, `modeling_internlm.py`, `modeling_internlm2.py` and `modeling_internlm3.py` published with
the weights.
"""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter, PullableModel
from camelid_core.models.checkpoint_converters import CheckpointConverter

_APACHE = "apache-2.0"  # of the weights too, after a form was sent in; the cards say which
_TARGETS = ("q_proj", "v_proj")
_VERIFIED = {
    "lora": "plugins/internlm/tests/test_conversion.py::test_a_chat_model_is_tuned_merged_and_asked_in_chinese"
}

INTERNLM = ModelAdapter(
    name="internlm",
    help="InternLM 1, as LLaMA with biases in attention.",
    model_types=(),
    template="alpaca",  # of base models: what chat models were trained with, their conversion records
    lora_targets=_TARGETS,
    converters=("internlm",),
    verified=_VERIFIED,
    pullable=(
        PullableModel("internlm-7b", "internlm/internlm-7b", _APACHE),
        PullableModel("internlm-chat-7b", "internlm/internlm-chat-7b", _APACHE, "internlm"),
    ),
)

INTERNLM_2 = ModelAdapter(
    name="internlm-2",
    help="InternLM 2, 2.5 and 3, as LLaMA.",
    model_types=(),
    template="alpaca",
    lora_targets=_TARGETS,
    converters=("internlm2", "internlm3"),
    verified=_VERIFIED,
    pullable=(
        PullableModel("internlm2-chat-7b", "internlm/internlm2-chat-7b", _APACHE, "internlm-2"),
        PullableModel("internlm2.5-7b-chat", "internlm/internlm2_5-7b-chat", _APACHE, "internlm-2"),
    ),
)

ADAPTERS = (INTERNLM, INTERNLM_2)

CONVERTERS = (
    CheckpointConverter(
        name="internlm",
        help="InternLM 7B and 20B of the first generation, and their chat models.",
        model_types=("internlm",),
        architectures=("InternLMForCausalLM",),
        target="llama",
        function="camelid_internlm.separate_projections:convert_first",
        adapter_rules="camelid_internlm.separate_projections:adapter_rules",
    ),
    CheckpointConverter(
        name="internlm2",
        help="InternLM 2 and 2.5 of every size, base and chat.",
        model_types=("internlm2",),
        architectures=("InternLM2ForCausalLM",),
        target="llama",
        function="camelid_internlm.fused_projection:convert",
        adapter_rules="camelid_internlm.fused_projection:adapter_rules",
    ),
    CheckpointConverter(
        name="internlm3",
        help="InternLM 3.",
        model_types=("internlm3",),
        architectures=("InternLM3ForCausalLM",),
        target="llama",
        function="camelid_internlm.separate_projections:convert_third",
        adapter_rules="camelid_internlm.separate_projections:adapter_rules",
    ),
)
