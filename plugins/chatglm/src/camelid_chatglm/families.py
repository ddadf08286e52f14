"""ChatGLM's families as data: how a model and an original checkpoint are recognised. Loads nothing.

ChatGLM2 and ChatGLM3 become GLM, which Transformers has and Camelid's own adapter `glm-4` describes.
"""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter, PullableModel
from camelid_core.models.checkpoint_converters import CheckpointConverter

_RUNS = "plugins/chatglm/tests/test_chatglm_runs.py"

CHATGLM = ModelAdapter(
    name="chatglm",
    help="ChatGLM-6B, the first one; ChatGLM2 and 3 become GLM when they are converted.",
    model_types=("chatglm_6b", "chatglm"),
    template="chatglm",
    lora_targets=("query_key_value",),
    registration="camelid_chatglm.registration:register",
    refusals={
        "packing": "Every row begins with a prompt that is read both ways, so rows cannot share a sequence.",
        "long-context": "Its rotary positions have two dimensions, place and block, which `model.rope` does not scale.",
    },
    verified={
        "lora": f"{_RUNS}::test_five_lora_steps_and_a_merge_give_what_the_formulas_give_on_the_merged_weights",
        "batching": f"{_RUNS}::test_the_loss_in_training_is_that_of_the_formulas",
    },
    pullable=(
        PullableModel("chatglm_6b", "THUDM/chatglm-6b", licence="chatglm-6b-license", template="chatglm"),
        PullableModel("chatglm2_6b", "THUDM/chatglm2-6b", licence="chatglm2-6b-license", template="chatglm-2"),
        PullableModel("chatglm3_6b", "THUDM/chatglm3-6b", licence="chatglm3-6b-license", template="chatglm-3"),
    ),
)

CHATGLM_1 = CheckpointConverter(
    name="chatglm-1",
    help="ChatGLM-6B, with its tokenizer ice_text.model.",
    model_types=("chatglm",),
    target="chatglm_6b",
    function="camelid_chatglm.chatglm_checkpoint:convert",
    adapter_rules="camelid_chatglm.chatglm_checkpoint:adapter_rules",
    lacks=("multi_query_attention", "padded_vocab_size"),
)

CHATGLM_2_3 = CheckpointConverter(
    name="chatglm-2-3",
    help="ChatGLM2-6B and ChatGLM3-6B, with their tokenizer.model.",
    model_types=("chatglm",),
    target="glm",
    function="camelid_chatglm.glm_checkpoint:convert",
    adapter_rules="camelid_chatglm.glm_checkpoint:adapter_rules",
    has=("padded_vocab_size",),
)
