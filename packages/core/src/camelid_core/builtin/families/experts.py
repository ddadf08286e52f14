"""Families of mixtures of experts.

Transformers holds the weights of all experts of a layer in one parameter (`gate_up_proj`, `down_proj`), whatever the
checkpoint calls them. Such a parameter is no linear layer: LoRA adapts the attention beside it, and bitsandbytes leaves
it as it is.
"""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter
from camelid_core.models.dimensions import Activations

from .evidence import MASK_ALONE, verified_but

_Q_V = ("q_proj", "v_proj")
_ROUTER = ("router",)
_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
_FUSED = (
    "The experts of a layer are one parameter and no linear layers: LoRA adapts what is beside them, never them.",
    "QLoRA leaves the experts in 16 bits, which is most of the model; only its other layers shrink.",
    "The routers' balance loss is left out; routers are frozen.",
)
_MEANS_EXPERTS = (
    "PEFT takes the names gate_proj, up_proj and down_proj here for those of the routed experts, so that the dense and "
    "shared feed-forward layers of these names take no adapter."
)
_ALL = "Transformers sends every token through all experts and weighs the results: a step keeps that much more."
_CHUNKS = {
    "packing": "Its attention goes by chunks of positions, which packed rows would share.",
}
_PART = {
    "long-context": "Its positions stand in the part of its configuration for texts, which model.rope does not reach.",
}
_NO_SCALING = {"long-context": "Transformers turns its positions by longrope factors of its own alone."}
_SCALED = {"long-context": "Its positions are scaled already (yarn), and are left as they were trained."}
_SINKS = {"packing": MASK_ALONE, **_SCALED}
_MLA = ("q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")

LLAMA_4 = ModelAdapter(
    name="llama-4",
    help="Llama 4: its text model alone.",
    model_types=("llama4_text",),
    lora_targets=_Q_V,
    no_lora=_ROUTER,
    refusals=_CHUNKS,
    verified=verified_but(_CHUNKS),
    notes=(*_FUSED, _ALL),
    activations=Activations(width=7.7, feed_forward=4, through_all=True),
)

LLAMA_4_SEEING = ModelAdapter(
    name="llama-4-seeing",
    help="Llama 4 as published, of which the text model is loaded.",
    model_types=("llama4",),
    lora_targets=_Q_V,
    no_lora=_ROUTER,
    refusals=_CHUNKS | _PART,
    verified=verified_but(_CHUNKS | _PART),
    notes=(*_FUSED, _ALL),
    activations=Activations(width=7.7, feed_forward=4, through_all=True),
)

MIXTRAL = ModelAdapter(
    name="mixtral",
    help="Mixtral.",
    model_types=("mixtral",),
    template="mistral",
    lora_targets=_Q_V,
    pad_token="<unk>",  # noqa: S106 – a token of text
    verified=verified_but(),
    notes=_FUSED,
    activations=Activations(width=9.8),
)

QWEN_MOE = ModelAdapter(
    name="qwen-moe",
    help="Qwen 1.5 and 2, mixtures of experts.",
    model_types=("qwen2_moe",),
    template="qwen",
    lora_targets=_Q_V,
    no_lora=("shared_expert_gate",),
    verified=verified_but(),
    notes=_FUSED,
    activations=Activations(width=10.7),
)

QWEN_3_MOE = ModelAdapter(
    name="qwen-3-moe",
    help="Qwen 3, mixtures of experts, without their thinking.",
    model_types=("qwen3_moe",),
    template="chatml",
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=_FUSED,
    activations=Activations(width=10.3),
)

PHI_MOE = ModelAdapter(
    name="phi-moe",
    help="Phi-3.5-MoE.",
    model_types=("phimoe",),
    template="phi-3",
    lora_targets=_Q_V,
    no_lora=_ROUTER,
    refusals=_NO_SCALING,
    verified=verified_but(_NO_SCALING),
    notes=_FUSED,
    activations=Activations(width=9.9),
)

OLMOE = ModelAdapter(
    name="olmoe",
    help="OLMoE.",
    model_types=("olmoe",),
    template="tulu",
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=_FUSED,
    activations=Activations(width=11.7),
)

GRANITE_MOE = ModelAdapter(
    name="granite-moe",
    help="Granite 3, mixtures of experts.",
    model_types=("granitemoe", "granitemoeshared"),
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=_FUSED,
    activations=Activations(width=9.7),
)

DEEPSEEK = ModelAdapter(
    name="deepseek",
    help="DeepSeek V2 and V3, and R1: low-rank attention (MLA).",
    model_types=("deepseek_v2", "deepseek_v3"),
    template="deepseek",
    lora_targets=_MLA,
    no_lora=_FEED_FORWARD,
    verified=verified_but(),
    notes=(
        *_FUSED,
        _MEANS_EXPERTS,
        "Smaller ones have q_proj where larger ones have q_a_proj and q_b_proj; LoRA takes what is there.",
    ),
    activations=Activations(width=13.3, square=1),
)

GLM_4_MOE = ModelAdapter(
    name="glm-4-moe",
    help="GLM-4.5 and 4.6.",
    model_types=("glm4_moe",),
    template="glm-4",
    lora_targets=_Q_V,
    no_lora=_FEED_FORWARD,
    verified=verified_but(),
    notes=(*_FUSED, _MEANS_EXPERTS),
    activations=Activations(width=8.9),
)

GPT_OSS = ModelAdapter(
    name="gpt-oss",
    help="gpt-oss.",
    model_types=("gpt_oss",),
    template="gpt-oss",
    lora_targets=_Q_V,
    refusals=_SINKS,
    verified=verified_but(_SINKS),
    notes=(*_FUSED, "Published weights are MXFP4; name a 16-bit copy to train."),
    activations=Activations(width=8.8, feed_forward=6, square=1),
)

EXPERTS = (
    LLAMA_4,
    LLAMA_4_SEEING,
    MIXTRAL,
    QWEN_MOE,
    QWEN_3_MOE,
    PHI_MOE,
    OLMOE,
    GRANITE_MOE,
    DEEPSEEK,
    GLM_4_MOE,
    GPT_OSS,
)
