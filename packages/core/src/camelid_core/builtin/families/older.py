"""Families from before Llama: positions in a table, or as a bias by distance; query, key and value in one layer."""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter, PullableModel
from camelid_core.models.dimensions import Activations

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
    activations=Activations(width=6.2, feed_forward=1, square=1),
)

MPT = ModelAdapter(
    name="mpt",
    help="MPT.",
    model_types=("mpt",),
    lora_targets=("Wqkv",),
    positions="alibi",
    refusals=_ALIBI,
    verified=verified_but(_ALIBI),
    activations=Activations(width=6.2, feed_forward=1, square=1),
)

FALCON = ModelAdapter(
    name="falcon",
    help="Falcon 7B, 40B, 180B and RW.",
    model_types=("falcon",),
    lora_targets=("query_key_value",),
    refusals=_FALCON,
    verified=verified_but(_FALCON),
    notes=("Falcon RW has ALiBi instead of rotary positions, which model.rope does not scale.",),
    activations=Activations(width=7.3, feed_forward=1, square=0.5),
)

GPT_NEOX = ModelAdapter(
    name="gpt-neox",
    help="GPT-NeoX and Pythia.",
    model_types=("gpt_neox",),
    lora_targets=("query_key_value",),
    verified=verified_but(),
    notes=("A quarter of each head is turned (partial rotary positions).",),
    activations=Activations(width=8.3, feed_forward=1),
)

GPT_NEO = ModelAdapter(
    name="gpt-neo",
    help="GPT-Neo: local and global attention in turn.",
    model_types=("gpt_neo",),
    lora_targets=("q_proj", "v_proj"),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
    activations=Activations(width=6.3, feed_forward=4, square=1),
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
    activations=Activations(width=5.8, feed_forward=4, square=1),
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
    activations=Activations(width=7.7, feed_forward=4, square=1),
)

GPT_2 = ModelAdapter(
    name="gpt-2",
    help="GPT-2.",
    model_types=("gpt2",),
    lora_targets=("c_attn",),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
    activations=Activations(width=10.2, feed_forward=4, square=3),
)

GPT_BIGCODE = ModelAdapter(
    name="gpt-bigcode",
    help="StarCoder 1 and SantaCoder.",
    model_types=("gpt_bigcode",),
    lora_targets=("c_attn",),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
    activations=Activations(width=8.2, feed_forward=1, square=3),
)

OPT = ModelAdapter(
    name="opt",
    help="OPT and Galactica.",
    model_types=("opt",),
    lora_targets=("q_proj", "v_proj"),
    positions="table",
    refusals=_TABLE,
    verified=verified_but(_TABLE),
    activations=Activations(width=9.4, feed_forward=1),
)

OLDER = (BLOOM, MPT, FALCON, GPT_NEOX, GPT_NEO, GPT_J, CODEGEN, GPT_2, GPT_BIGCODE, OPT)
