"""MOSS as data: how it is tuned, and how its checkpoints are recognised. They become CodeGen, whose layout MOSS has.

Source: `configuration_moss.py` and `modeling_moss.py` of github.com/OpenMOSS/MOSS; the weights' terms are those of its
MODEL_LICENSE.
"""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter, PullableModel
from camelid_core.models.checkpoint_converters import CheckpointConverter

MOSS = ModelAdapter(
    name="moss",
    help="MOSS 003, as CodeGen with a tokenizer and a meta-instruction of its own.",
    model_types=(),
    template="moss",
    lora_targets=("qkv_proj",),
    converters=("moss",),
    verified={"lora": "plugins/moss/tests/test_conversion.py::test_it_is_tuned_merged_and_asked_in_chinese"},
    pullable=(PullableModel("moss", "fnlp/moss-moon-003-sft", "agpl-3.0", "moss"),),
)

CONVERTER = CheckpointConverter(
    name="moss",
    help="MOSS 003, base, sft and plugin, in 16 bits.",
    model_types=("moss",),
    architectures=("MossForCausalLM",),
    has=("n_embd", "rotary_dim"),
    target="codegen",
    function="camelid_moss.checkpoint:convert",
    adapter_rules="camelid_moss.checkpoint:adapter_rules",
)
