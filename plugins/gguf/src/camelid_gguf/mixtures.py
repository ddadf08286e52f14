"""The mixtures of llama.cpp: which number format each tensor of a model gets under a name such as `q4_k_m`.

A mixture has a format for most tensors and better ones for those where errors do most harm: the values of attention,
the way down of the feed-forward network, the head. The rules, and the numbers of the file types, are those of
`llama-quantize` (github.com/ggml-org/llama.cpp, src/llama-quant.cpp). Knows tensors by their names in GGUF files. Reads
no weights. Experts are not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .number_formats import PLAIN, blocks, fitting


@dataclass(frozen=True)
class Place:
    """Where a tensor is: its place among those of its kind, of how many. `shared` is how many heads share keys and
    values; `importances` says that there is an importance matrix."""

    index: int
    count: int
    shared: int
    importances: bool


Rule = Callable[[Place], str]
"""The format of a tensor at a place; empty leaves the mixture's own."""


def _none(place: Place) -> str:
    return ""


def _always(name: str) -> Rule:
    return lambda place: name


def _first_eighth(name: str) -> Rule:
    return lambda place: name if place.index < place.count // 8 else ""


def _shared(name: str, otherwise: str = "") -> Rule:
    """Where four heads or more share values, which makes them small and important."""
    return lambda place: name if place.shared >= 4 else otherwise


def _more_bits(name: str) -> Rule:
    """In the first and last eighth of the layers, and in every third between."""

    def rule(place: Place) -> str:
        index, eighth = place.index, place.count // 8
        more = index < eighth or index >= 7 * place.count // 8 or (index - eighth) % 3 == 2
        return name if more else ""

    return rule


def _guarded(rule: Rule, importances: bool) -> Rule:
    """Only with, or only without, an importance matrix."""
    return lambda place: rule(place) if place.importances == importances else ""


@dataclass(frozen=True)
class Mixture:
    """`number` is that of the file type; `most` the format of most tensors."""

    number: int
    most: str
    values: Rule = _none
    down: Rule = _none
    attention_output: str = ""
    needs_importances: bool = False


_GOOD_VALUES = _shared("Q5_K")
_GOOD_DOWN = _guarded(_first_eighth("Q5_K"), importances=False)

MIXTURES: Mapping[str, Mixture] = {
    "f32": Mixture(0, "F32"),
    "bf16": Mixture(32, "BF16"),
    "f16": Mixture(1, "F16"),
    "q8_0": Mixture(7, "Q8_0"),
    "q6_k": Mixture(18, "Q6_K"),
    "q5_k_m": Mixture(17, "Q5_K", _more_bits("Q6_K"), _more_bits("Q6_K")),
    "q5_k_s": Mixture(16, "Q5_K"),
    "q5_1": Mixture(9, "Q5_1"),
    "q5_0": Mixture(8, "Q5_0", down=_guarded(_first_eighth("Q5_1"), importances=True)),
    "q4_k_m": Mixture(15, "Q4_K", _more_bits("Q6_K"), _more_bits("Q6_K")),
    "q4_k_s": Mixture(14, "Q4_K", lambda place: "Q5_K" if place.index < 4 else "", _first_eighth("Q5_K")),
    "q4_1": Mixture(3, "Q4_1"),
    "q4_0": Mixture(2, "Q4_0", down=_guarded(_first_eighth("Q4_1"), importances=True)),
    "iq4_nl": Mixture(25, "IQ4_NL", _GOOD_VALUES, _GOOD_DOWN),
    "iq4_xs": Mixture(30, "IQ4_XS", _GOOD_VALUES, _GOOD_DOWN),
    "q3_k_l": Mixture(13, "Q3_K", _always("Q5_K"), _always("Q5_K"), "Q5_K"),
    "q3_k_m": Mixture(
        12, "Q3_K",
        lambda place: "Q5_K" if place.index < 2 else "Q4_K",
        lambda place: "Q5_K" if place.index < place.count // 16 else "Q4_K",
        "Q4_K",
    ),
    "q3_k_s": Mixture(11, "Q3_K"),
    "q2_k": Mixture(10, "Q2_K", _shared("Q4_K", "Q3_K"), _always("Q3_K"), "Q3_K"),
    "q2_k_s": Mixture(21, "Q2_K", _shared("Q4_K"), _first_eighth("Q4_K"), needs_importances=True),
}  # fmt: skip
"""By name, from the most bits to the fewest."""

_VALUES, _DOWN, _ATTENTION_OUTPUT = ("attn_v.weight", "attn_qkv.weight"), "ffn_down", "attn_output.weight"
_HEAD, _EMBEDDINGS = "output.weight", "token_embd.weight"
_LAYER = re.compile(r"^blk\.(\d+)\.")
_LAYERS_OF_70B = 80


class Sizes(NamedTuple):
    """What a mixture depends on: layers, heads, and heads of keys and values; `llama` says that the architecture is."""

    layers: int
    heads: int
    key_heads: int
    llama: bool = True


def in_order(names: Iterator[str] | Mapping[str, object]) -> list[str]:
    """Names of tensors as llama.cpp sorts them: those of no layer first, then layer by layer."""

    def key(name: str) -> tuple[int, str]:
        found = _LAYER.match(name)
        return int(found[1]) if found else -1, name

    return sorted(names, key=key)


def formats(mixture: str, shapes: Mapping[str, tuple[int, ...]], sizes: Sizes, importances: bool) -> dict[str, str]:
    """The number format of each tensor. `shapes` are (rows, columns)."""
    return _Choice(MIXTURES[mixture], shapes, sizes, importances).formats()


class _Choice:
    def __init__(
        self, mixture: Mixture, shapes: Mapping[str, tuple[int, ...]], sizes: Sizes, importances: bool
    ) -> None:
        self._mixture, self._shapes, self._sizes, self._importances = mixture, shapes, sizes, importances
        self._values = [name for name in in_order(shapes) if name.endswith(_VALUES)]
        self._downs = [name for name in in_order(shapes) if _DOWN in name and self._is_quantised(name)]
        self._tied = _HEAD not in shapes

    def formats(self) -> dict[str, str]:
        return {name: self._format(name) for name in self._shapes}

    def _is_quantised(self, name: str) -> bool:
        return len(self._shapes[name]) > 1 and name.endswith("weight") and not name.endswith("_norm.weight")

    def _format(self, name: str) -> str:
        if not self._is_quantised(name):
            return "F32"
        return fitting(self._wanted(name), self._shapes[name][-1])

    def _wanted(self, name: str) -> str:
        most = self._mixture.most
        if most in PLAIN:
            return most
        if name == _HEAD or (self._tied and name == _EMBEDDINGS):
            return self._head(self._shapes[name][-1])
        if name.endswith(_VALUES):
            return self._for_values(name)
        if _DOWN in name:
            return self._mixture.down(self._place(name, self._downs, self._sizes.layers)) or most
        if name.endswith(_ATTENTION_OUTPUT):
            return self._mixture.attention_output or most
        return most

    def _head(self, columns: int) -> str:
        most = self._mixture.most
        return "Q8_0" if most == "Q8_0" or columns % blocks(most)[0] else "Q6_K"

    def _for_values(self, name: str) -> str:
        """Those of the 70B model are so small that they always get five bits."""
        wanted = self._mixture.values(self._place(name, self._values, len(self._values))) or self._mixture.most
        sizes = self._sizes
        large = sizes.llama and sizes.layers == _LAYERS_OF_70B and sizes.heads != sizes.key_heads
        return "Q5_K" if large and wanted in ("Q3_K", "Q4_K") else wanted

    def _place(self, name: str, kind: list[str], count: int) -> Place:
        shared = self._sizes.heads // max(1, self._sizes.key_heads)
        return Place(kind.index(name), count, shared, self._importances)
