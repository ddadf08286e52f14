"""Families from before Llama: positions in a table, or as a bias by distance; query, key and value in one layer."""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter, PullableModel

from .evidence import ALIBI, MASK_ALONE, TABLE_ENDS, verified_but

_ALIBI = {"packing": MASK_ALONE, "long-context": ALIBI}
_TABLE = {"long-context": TABLE_ENDS}
_FALCON = {
    "packing": MASK_ALONE,
    "qlora": "Its linear layers are of a class of their own, which bitsandbytes leaves unquantised; train with LoRA.",
}

BLOOM_7B = PullableModel("bloom_7b", "bigscience/bloomz-7b1-mt", "bigscience-bloom-rail-1.0")

BLOOM = ModelAdapter(
    name="bloom",
    help="BLOOM and BLOOMZ.",
    model_types=("bloom",),
    lora_targets=("query_key_value",),
    pullable=(BLOOM_7B,),
    positions="alibi",
    refusals=_ALIBI,
    verified=verified_but(_ALIBI),
)

MPT = ModelAdapter(
    name="mpt",
    help="MPT.",
    model_types=("mpt",),
    lora_targets=("Wqkv",),
    positions="alibi",
    refusals=_ALIBI,
    verified=verified_but(_ALIBI),
)

FALCON = ModelAdapter(
    name="falcon",
    help="Falcon 7B, 40B, 180B and RW.",
    model_types=("falcon",),
    lora_targets=("query_key_value",),
    refusals=_FALCON,
    verified=verified_but(_FALCON),
    notes=("Falcon RW has ALiBi instead of rotary positions, which model.rope does not scale.",),
)

GPT_NEOX = ModelAdapter(
    name="gpt-neox",
    help="GPT-NeoX and Pythia.",
    model_types=("gpt_neox",),
    lora_targets=("query_key_value",),
    verified=verified_but(),
    notes=("A quarter of each head is turned (partial rotary positions).",),
)

GPT_NEO = ModelAdapter(
    name="gpt-neo",
    help="GPT-Neo: local and global attention in turn.",
    model_types=("gpt_neo",),
    lora_targets=("q_proj", "v_proj"),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
)

GPT_J = ModelAdapter(
    name="gpt-j",
    help="GPT-J.",
    model_types=("gptj",),
    lora_targets=("q_proj", "v_proj"),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
    notes=("Rotary angles, but read from a table as long as its context.",),
)

CODEGEN = ModelAdapter(
    name="codegen",
    help="CodeGen 1 and 2.",
    model_types=("codegen",),
    lora_targets=("qkv_proj",),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
    notes=("Rotary angles, but read from a table as long as its context.",),
)

GPT_2 = ModelAdapter(
    name="gpt-2",
    help="GPT-2.",
    model_types=("gpt2",),
    lora_targets=("c_attn",),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
)

GPT_BIGCODE = ModelAdapter(
    name="gpt-bigcode",
    help="StarCoder 1 and SantaCoder.",
    model_types=("gpt_bigcode",),
    lora_targets=("c_attn",),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
)

OPT = ModelAdapter(
    name="opt",
    help="OPT and Galactica.",
    model_types=("opt",),
    lora_targets=("q_proj", "v_proj"),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
)

OLDER = (BLOOM, MPT, FALCON, GPT_NEOX, GPT_NEO, GPT_J, CODEGEN, GPT_2, GPT_BIGCODE, OPT)
