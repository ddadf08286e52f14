"""The format is that of published repositories, byte for byte, and their sizes follow from shapes."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.integrity import safetensors_header
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.weight_files import WeightFiles
from camelid_gptq.exporter import GPTQ
from camelid_gptq.packed_size import packed_size, quantised_matrices
from camelid_gptq.packed_weights import write_weights
from camelid_gptq.quantize_config import quantization_entry, quantize_config, quantize_config_text, weights_metadata
from camelid_gptq.recipes import GptqRecipe, read_recipes
from camelid_gptq.section import GptqSection
from safetensors.torch import load_file, save_file

EXPECTED = """{
  "bits": 8,
  "group_size": 128,
  "damp_percent": 0.01,
  "desc_act": false,
  "sym": true,
  "true_sequential": true,
  "model_name_or_path": null,
  "model_file_base_name": "model"
}"""


def test_quantize_config_has_the_bytes_of_published_ones():
    text = quantize_config_text(quantize_config(GptqRecipe(8, 128, False), True, True))
    assert text == EXPECTED
    assert len(text.encode()) == 188
    assert len(quantize_config_text(quantize_config(GptqRecipe(4, 64, True), True, True)).encode()) == 186


def test_the_entry_for_transformers_has_the_same_keys_and_says_gptq():
    values = quantize_config(GptqRecipe(4, 32, True, 0.1), True, True)
    assert quantization_entry(values) == {**json.loads(quantize_config_text(values)), "quant_method": "gptq"}


def llama(vocabulary: int, hidden: int, inner: int, layers: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a LLaMA model of the first two generations at 7B or 13B."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "lm_head.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    for number in range(layers):
        layer = f"model.layers.{number}"
        shapes |= {f"{layer}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
        shapes |= {f"{layer}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes |= {f"{layer}.{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
        shapes[f"{layer}.mlp.down_proj.weight"] = (hidden, inner)
    return shapes


PUBLISHED = {
    "airoboros": (llama(32000, 5120, 13824, 40), (7.26, 7.51, 8.00, 7.26, 13.95, 13.65, 13.65, 13.36)),
    "tulu": (llama(32001, 4096, 11008, 32), (3.90, 4.28, 4.02, 3.90, 7.01, 7.16)),
}
"""Sizes in GB of the fourteen branches, in the order of the tables."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_formula_gives_the_published_sizes(name):
    shapes, sizes = PUBLISHED[name]
    computed = [packed_size(shapes, recipe, zero_bias=True) / 1e9 for recipe in read_recipes([name])]
    assert [f"{size:.2f}" for size in computed] == [f"{size:.2f}" for size in sizes]


def packed_like_gptqmodel(source: dict[str, torch.Tensor], recipe: GptqRecipe) -> dict[str, torch.Tensor]:
    """Tensors of the names, dtypes and shapes that GPTQModel writes; their numbers are of no matter here."""
    matrices = quantised_matrices({name: tuple(tensor.shape) for name, tensor in source.items()})
    packed = {name: tensor.bfloat16() for name, tensor in source.items() if name not in matrices}
    for weight, (rows, columns) in matrices.items():
        name = weight.removesuffix(".weight")
        groups = 1 if recipe.group_size == -1 else -(-columns // recipe.group_size)
        packed |= {
            f"{name}.qweight": torch.zeros(columns * recipe.bits // 32, rows, dtype=torch.int32),
            f"{name}.qzeros": torch.zeros(groups, rows * recipe.bits // 32, dtype=torch.int32),
            f"{name}.scales": torch.ones(groups, rows, dtype=torch.bfloat16),
            f"{name}.g_idx": torch.zeros(columns, dtype=torch.int32),
        }
    return packed


@pytest.mark.parametrize("zero_bias", [True, False])
@pytest.mark.parametrize("text", ["main", "3b32T", "8b-1T", "2b64F"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox"])
def test_the_file_has_the_estimated_size_and_what_is_not_quantised_comes_from_the_source(
    base, tmp_path, family, text, zero_bias
):
    (recipe,) = read_recipes([text])
    source = load_file(base(family) / "model.safetensors")
    (tmp_path / "packed").mkdir()
    save_file(packed_like_gptqmodel(source, recipe), tmp_path / "packed" / "model.safetensors")
    metadata = weights_metadata(recipe, "GPTQModel 7.6.0")
    write_weights(WeightFiles(tmp_path / "packed"), WeightFiles(base(family)), tmp_path, metadata, zero_bias)
    header = safetensors_header(tmp_path / "model.safetensors")
    assert header.pop("__metadata__") == {
        "format": "pt",
        "auto_gptq_version": "0.4.2",
        "gptq_bits": str(recipe.bits),
        "gptq_group_size": str(recipe.group_size),
        "gptq_desc_act": str(recipe.desc_act),
        "gptq_damp_percent": "0.01",
        "quantizer": "GPTQModel 7.6.0",
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in source.items()}
    assert max(each["data_offsets"][1] for each in header.values()) == packed_size(shapes, recipe, zero_bias)
    written = load_file(tmp_path / "model.safetensors")
    for name, tensor in source.items():
        if name not in quantised_matrices(shapes):
            assert torch.equal(written[name], tensor.half())
    assert {tensor.dtype for tensor in written.values()} == {torch.int32, torch.float16}


def test_numbers_that_float16_does_not_hold_are_refused_by_name(base, tmp_path):
    source = load_file(base() / "model.safetensors")
    packed = packed_like_gptqmodel(source, GptqRecipe(4, 32, False))
    source["model.norm.weight"][0] = 1e6
    for place, tensors in (("source", source), ("packed", packed)):
        (tmp_path / place).mkdir()
        save_file(tensors, tmp_path / place / "model.safetensors")
    with pytest.raises(ValueError, match=r"'model\.norm\.weight' holds numbers over 65,504"):
        write_weights(WeightFiles(tmp_path / "packed"), WeightFiles(tmp_path / "source"), tmp_path, {}, False)


def test_a_head_that_the_source_ties_to_its_embeddings_is_not_written_twice(base, tmp_path):
    source = load_file(base() / "model.safetensors")
    packed = packed_like_gptqmodel(source, GptqRecipe(4, 32, False))
    del source["lm_head.weight"]
    for place, tensors in (("source", source), ("packed", packed)):
        (tmp_path / place).mkdir()
        save_file(tensors, tmp_path / place / "model.safetensors")
    write_weights(WeightFiles(tmp_path / "packed"), WeightFiles(tmp_path / "source"), tmp_path, {}, False)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seqlen": 1024, "calibration": "x"}, "its context is 512 tokens"),
        ({"seqlen": 64}, "no training data to calibrate with"),
    ],
)
def test_what_cannot_be_quantised_is_refused_before_it_starts(base, host, settings, words):
    assert words in GPTQ.estimate(resolve_model(str(base()), host), GptqSection(**settings)).refusal


def test_groups_that_columns_do_not_fill_are_said_before_it_starts(base, host):
    source = resolve_model(str(base()), host)
    for sizes, said in ((128, True), (64, False), (32, False), (-1, False)):
        section = GptqSection(group_size=sizes, calibration="x", seqlen=64)
        assert ("their last group is smaller" in GPTQ.estimate(source, section).note) == said
