"""Baichuan's models as data: how the family is recognised and tuned, and which checkpoints are converted how.

The 7B models have rotary positions, so what comes of them is LLaMA. The 13B models have ALiBi, for which Transformers
has no LLaMA-like class: they are computed by `alibi_model`. Baichuan 2 is told by `z_loss_weight`,
rotary positions by `max_position_embeddings`. Source: the published `config.json` and `modeling_baichuan.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.models.adapters import ModelAdapter, PullableModel
from camelid_core.models.checkpoint_converters import CheckpointConverter

MODEL_TYPE = "baichuan_alibi"
"""Of our own class for the 13B models: their repositories' name, `baichuan`, means both architectures."""
_COMMUNITY = "baichuan-community-license"
_ROTARY, _NORMALISED = "max_position_embeddings", "z_loss_weight"
_CONVERT, _ADAPTERS = "camelid_baichuan.checkpoint:convert", "camelid_baichuan.checkpoint:adapter_rules"
_ORIGINAL = ("baichuan",)
_TESTS = "plugins/baichuan/tests"

PULLABLE = (
    PullableModel("baichuan-7b", "baichuan-inc/Baichuan-7B", _COMMUNITY),
    PullableModel("baichuan-13b-chat", "baichuan-inc/Baichuan-13B-Chat", _COMMUNITY, "baichuan"),
    PullableModel("baichuan2-7b-chat", "baichuan-inc/Baichuan2-7B-Chat", _COMMUNITY, "baichuan-2"),
    PullableModel("baichuan2-13b-chat", "baichuan-inc/Baichuan2-13B-Chat", _COMMUNITY, "baichuan-2"),
)

BAICHUAN = ModelAdapter(
    name="baichuan",
    help="Baichuan 1 and 2; the 7B models become LLaMA's when they are converted.",
    model_types=(MODEL_TYPE,),
    template="alpaca",  # of base models: what chat models were trained with, their conversion records
    lora_targets=("q_proj", "k_proj", "v_proj"),
    pad_token="<unk>",  # noqa: S106 – a token of text
    registration="camelid_baichuan.registration:register",
    pullable=PULLABLE,
    converters=("baichuan-7b", "baichuan2-7b", "baichuan-13b", "baichuan2-13b"),
    positions="alibi",
    refusals={"long-context": "Its positions are a bias by distance (ALiBi); there are no rotary positions to scale."},
    verified={
        "lora": f"{_TESTS}/test_conversion.py::test_a_chat_model_is_tuned_merged_and_asked_in_chinese",
        "batching": f"{_TESTS}/test_alibi_model.py::test_padding_changes_nothing",
        "packing": f"{_TESTS}/test_alibi_model.py::test_packed_rows_are_kept_apart",
    },
)

CONVERTERS = (
    CheckpointConverter(
        name="baichuan-7b",
        help="Baichuan-7B and its chat models.",
        model_types=_ORIGINAL,
        has=(_ROTARY,),
        lacks=(_NORMALISED,),
        target="llama",
        function=_CONVERT,
        adapter_rules=_ADAPTERS,
    ),
    CheckpointConverter(
        name="baichuan2-7b",
        help="Baichuan2-7B, Base and Chat.",
        model_types=_ORIGINAL,
        has=(_ROTARY, _NORMALISED),
        target="llama",
        function=_CONVERT,
        adapter_rules=_ADAPTERS,
    ),
    CheckpointConverter(
        name="baichuan-13b",
        help="Baichuan-13B, Base and Chat.",
        model_types=_ORIGINAL,
        lacks=(_ROTARY, _NORMALISED),
        target=MODEL_TYPE,
        function=_CONVERT,
        adapter_rules=_ADAPTERS,
    ),
    CheckpointConverter(
        name="baichuan2-13b",
        help="Baichuan2-13B, Base and Chat.",
        model_types=_ORIGINAL,
        has=(_NORMALISED,),
        lacks=(_ROTARY,),
        target=MODEL_TYPE,
        function=_CONVERT,
        adapter_rules=_ADAPTERS,
    ),
)


def has_rotary_positions(config: Mapping[str, Any]) -> bool:
    return _ROTARY in config


def has_normalised_head(config: Mapping[str, Any]) -> bool:
    return _NORMALISED in config
