"""The matrix of everything that was published of a model: one row a variant, `N/A` where there is none.

Columns: format, bits, group, what loads it, and one for each model. Knows manifests. Knows no hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from camelid_core.artefacts import Manifest
from camelid_core.models.hub_names import MAIN

from camelid_train.publishing.gptq_recipe import GptqRecipe

from .card_data import CardData, FamilyMember

NOT_AVAILABLE = "N/A"
_GGUF_TYPE = re.compile(r"(?:^|[.-])(I?Q\d\w*|T?Q\d\w*|B?F16|F32)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Variant:
    """A row. `kernel` is what computes with it; `group` is empty where the format has none."""

    format: str
    bits: str
    group: str = ""
    kernel: str = ""


_ACT, _NO_ACT = "act-order", "no act-order"
_GPTQ = (
    ("3", "128", _NO_ACT), ("4", "None", _ACT), ("4", "32", _ACT), ("4", "64", _ACT), ("4", "128", _ACT),
    ("4", "128", _NO_ACT), ("8", "128", _NO_ACT),
)  # fmt: skip
_GGUF = ("Q2_K", "Q3_K_M", "Q4_0", "Q4_K_M", "Q5_1", "Q5_K_M", "Q6_K", "Q8_0")
_STANDARD = (
    Variant("adapter", "–", "", "PEFT"),
    Variant("unquantised", "16", "", "Transformers"),
    *(Variant("GPTQ", bits, group, kernel) for bits, group, kernel in _GPTQ),
    *(Variant("GGUF", kind[1], "", kind) for kind in _GGUF),
)
"""Rows that are shown whether or not they were made."""


def variant_matrix(models: Mapping[str, Mapping[Variant, str]]) -> str:
    """The table as Markdown. `models` is a model's name → variant → its address."""
    others = {variant: None for found in models.values() for variant in found if variant not in _STANDARD}
    rows = sorted([*_STANDARD, *others], key=_order)
    head = ["Format", "Bits", "Group", "Kernel", *models]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [found.get(row, NOT_AVAILABLE) for found in models.values()]
        lines.append([row.format, row.bits, row.group or "–", row.kernel, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def published_variants(data: CardData) -> dict[Variant, str]:
    """Every variant of the family, with a link."""
    return {
        variant: f"[{label}]({data.web(member.repository, '' if branch == MAIN else branch)})"
        for member in data.family
        for branch, manifest in member.branches.items()
        for variant, label in _variants(member, branch, manifest)
    }


def _variants(member: FamilyMember, branch: str, manifest: Manifest) -> Iterator[tuple[Variant, str]]:
    if manifest.kind == "adapter":
        yield Variant("adapter", "–", "", "PEFT"), member.repository
    elif manifest.kind == "gptq":
        recipe = GptqRecipe.of(manifest)
        group = "None" if recipe.group_size < 0 else str(recipe.group_size)
        kernel = _ACT if recipe.desc_act else _NO_ACT
        yield Variant("GPTQ", str(recipe.bits), group, kernel), branch
    elif manifest.kind == "gguf":
        for name in gguf_names(manifest):
            kind = gguf_type(name)
            yield Variant("GGUF", "".join(filter(str.isdigit, kind.partition("_")[0])) or "?", "", kind), name
    elif manifest.kind == "model":
        stored = (manifest.parameters.get("export") or {}).get("quantization")
        bits = {"nf4": "4", "int8": "8"}.get(str(stored), "16")
        name = f"bitsandbytes {stored}" if stored else "unquantised"
        yield Variant(name, bits, "", "Transformers"), branch if branch != MAIN else member.repository


def gguf_names(manifest: Manifest) -> Sequence[str]:
    """The GGUF files that hold a model: of one in parts the first, and none that holds importances."""
    names = [name for name in manifest.files if name.endswith(".gguf") and "imatrix" not in name.lower()]
    return sorted(name for name in names if "-of-" not in name or "-00001-of-" in name)


def gguf_type(name: str) -> str:
    """The type in a file's name: `tulu.Q4_K_M.gguf` is Q4_K_M."""
    stem = name.removesuffix(".gguf").partition("-00001-of-")[0]
    found = _GGUF_TYPE.search(stem)
    return found[1].upper() if found else stem


def _order(row: Variant) -> tuple[int, int]:
    formats = ["adapter", "unquantised", "GPTQ", "GGUF"]
    return (
        formats.index(row.format) if row.format in formats else len(formats),
        int(row.bits) if row.bits.isdigit() else 99,
    )
