"""Which number format each tensor gets: llama.cpp's mixtures, by the sizes of files that it makes."""

from __future__ import annotations

import pytest
from camelid_gguf.gguf_file import Entry
from camelid_gguf.mixtures import MIXTURES, Sizes, formats, in_order
from camelid_gguf.number_formats import fitting
from camelid_gguf.section import Quantization

LLAMA_3 = {
    "q2_k": 2.96, "q3_k_s": 3.41, "q3_k_m": 3.74, "q3_k_l": 4.03, "q4_0": 4.34, "q4_1": 4.78, "q4_k_s": 4.37,
    "q4_k_m": 4.58, "q5_0": 5.21, "q5_1": 5.65, "q5_k_s": 5.21, "q5_k_m": 5.33, "q6_k": 6.14, "q8_0": 7.96,
}  # fmt: skip
"""GiB of Llama-3-8B, as `llama-quantize --help` prints them: with some megabytes of vocabulary."""


def shapes(layers: int, width: int, wide: int, keys: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = dict.fromkeys(("token_embd.weight", "output.weight"), (vocabulary, width))
    found["output_norm.weight"] = (width,)
    for layer in range(layers):
        parts = {
            "attn_q": (width, width), "attn_k": (keys, width), "attn_v": (keys, width), "attn_output": (width, width),
            "ffn_gate": (wide, width), "ffn_up": (wide, width), "ffn_down": (width, wide), "attn_norm": (width,),
            "ffn_norm": (width,),
        }  # fmt: skip
        found |= {f"blk.{layer}.{part}.weight": shape for part, shape in parts.items()}
    return found


EIGHT_BILLION = shapes(32, 4096, 14336, 1024, 128256)
SIZES = Sizes(32, 32, 8)


@pytest.mark.parametrize("mixture", LLAMA_3)
def test_files_are_as_large_as_those_of_llamacpp(mixture):
    chosen = formats(mixture, EIGHT_BILLION, SIZES, importances=False)
    size = sum(Entry(chosen[name], shape).size for name, shape in EIGHT_BILLION.items())
    assert size / 2**30 == pytest.approx(LLAMA_3[mixture], rel=0.004)


def test_the_settings_name_every_mixture():
    assert Quantization.__args__ == tuple(MIXTURES)


def test_better_formats_are_where_llamacpp_has_them():
    chosen = formats("q4_k_m", EIGHT_BILLION, SIZES, importances=False)
    better = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    for part in ("attn_v", "ffn_down"):
        assert [n for n in range(32) if chosen[f"blk.{n}.{part}.weight"] == "Q6_K"] == better
    assert chosen["output.weight"] == "Q6_K"
    assert {chosen[f"blk.{n}.attn_q.weight"] for n in range(32)} == {chosen["token_embd.weight"]} == {"Q4_K"}
    assert {chosen[name] for name in EIGHT_BILLION if "norm" in name} == {"F32"}


def test_the_head_that_is_tied_is_stored_as_a_head():
    tied = {name: shape for name, shape in EIGHT_BILLION.items() if name != "output.weight"}
    assert formats("q4_k_m", tied, SIZES, importances=False)["token_embd.weight"] == "Q6_K"


def test_importances_change_what_is_guarded():
    guarded = {"q4_0": ["Q4_0", "Q4_1"], "q5_0": ["Q5_0", "Q5_1"], "iq4_xs": ["Q5_K", "IQ4_XS"]}
    for mixture, without_and_with in guarded.items():
        found = [formats(mixture, EIGHT_BILLION, SIZES, each)["blk.3.ffn_down.weight"] for each in (False, True)]
        assert found == without_and_with
        assert formats(mixture, EIGHT_BILLION, SIZES, True)["blk.4.ffn_down.weight"] == MIXTURES[mixture].most


def test_rows_that_divide_into_no_blocks_get_what_llamacpp_takes():
    assert [fitting(name, 576) for name in ("Q4_K", "Q5_K", "Q6_K", "Q3_K", "Q2_K", "IQ4_XS", "Q8_0")] == [
        "Q5_0", "Q5_1", "Q8_0", "Q4_0", "Q4_0", "IQ4_NL", "Q8_0"
    ]  # fmt: skip
    assert {fitting(name, 100) for name in ("Q4_K", "Q8_0", "Q4_0", "IQ4_XS")} == {"F16"}


def test_the_largest_model_always_gets_five_bits_for_values():
    chosen = formats("q4_k_m", shapes(80, 256, 512, 32, 512), Sizes(80, 64, 8), importances=False)
    assert {chosen[f"blk.{n}.attn_v.weight"] for n in range(80)} == {"Q5_K", "Q6_K"}


def test_layers_come_in_their_order():
    names = [f"blk.{n}.attn_v.weight" for n in (10, 9, 1)] + ["token_embd.weight", "output.weight"]
    assert in_order(iter(names)) == [
        "output.weight", "token_embd.weight", "blk.1.attn_v.weight", "blk.9.attn_v.weight", "blk.10.attn_v.weight"
    ]  # fmt: skip
