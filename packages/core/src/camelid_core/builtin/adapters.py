"""The model families that come with Camelid."""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter

from .families import FAMILIES

CHATGLM = ModelAdapter(
    name="chatglm",
    help="ChatGLM 1 to 3 (converted to run without code of their own).",
    model_types=("chatglm",),
    template="chatglm",
    lora_targets=("query_key_value",),
)

MOSS = ModelAdapter(name="moss", help="MOSS; its targets are inferred.", model_types=("moss",), template="moss")

INTERNLM = ModelAdapter(
    name="internlm",
    help="InternLM 1.",
    model_types=("internlm",),
    template="internlm",
    lora_targets=("q_proj", "v_proj"),
)

INTERNLM_2 = ModelAdapter(
    name="internlm-2",
    help="InternLM 2.",
    model_types=("internlm2",),
    template="internlm-2",
    lora_targets=("wqkv",),
)

BAICHUAN = ModelAdapter(
    name="baichuan",
    help="Baichuan 1 and 2.",
    model_types=("baichuan",),
    template="baichuan-2",
    lora_targets=("W_pack",),
    pad_token="<unk>",  # noqa: S106 – a token of text
)

ADAPTERS = (*FAMILIES, CHATGLM, MOSS, INTERNLM, INTERNLM_2, BAICHUAN)
