"""`GptqSection`: the settings of an export to GPTQ. Knows fields, bounds and their help. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal, Self

from camelid_core.errors import UsageError
from camelid_core.paths import absolute_if_path
from camelid_train.sections import OWN, ExportSection
from pydantic import Field, field_validator, model_validator

from .recipes import DEFAULT_DAMP, GptqRecipe, read_recipes

_OF_A_RECIPE = ("bits", "group_size", "desc_act")


class GptqSection(ExportSection):
    """GPTQ: 2, 3, 4 or 8 bits, calibrated; for GPTQModel, Transformers, vLLM and ExLlama."""

    type: Literal["gptq"] = "gptq"
    bits: Literal[2, 3, 4, 8] = 4
    """Bits per weight. Also: `wbits`."""
    group_size: Literal[-1, 16, 32, 64, 128, 256, 512, 1024] = 128
    """Group size: weights of a row that share scale and zero; fewer are more exact and take more space; -1 is one group
    for the whole row. Also: `groupsize`, GS."""
    desc_act: bool = False
    """Act-order: quantise the columns with the largest activations first; more exact, and slower in some kernels.
    Also: `act_order`."""
    damp: float | None = Field(None, gt=0, lt=1)
    """Damping, as a share of the Hessian's mean diagonal; empty is 0.01, or what the set of recipes was published with.
    Also: `damp_percent`, `percdamp`."""
    sym: bool = True
    """Symmetric quantisation: the zero is in the middle of the range."""
    true_sequential: bool = True
    """True sequential: the matrices of a layer are quantised one after the other, each with those before it quantised
    already."""
    zero_bias: bool = False
    """Write a bias of zeros for every matrix that has none, as AutoGPTQ 0.4 did; Transformers reports such as
    unexpected."""
    calibration: list[str] = Field([OWN], min_length=1)
    """Calibration data: datasets as in a recipe, or `own` for the rows that the model was trained on, under its own
    template. Also: `dataset`, `calibration_dataset`."""
    rows: int = Field(128, ge=1, le=65536)
    """Calibration rows. Also: `num_samples`, `nsamples`."""
    seqlen: int = Field(2048, ge=16, le=131072)
    """Sequence length of a calibration row in tokens; it limits nothing later. Also: `model_seqlen`."""
    seed: int = Field(0, ge=0)
    """Seed: decides which calibration rows are taken."""
    recipes: list[str] = []
    """Several quantised models at once, each in a folder called as its branch: a set (airoboros, tulu), branches, or
    recipes as 4b32T and 8b-1T; bits, group size and act-order are then theirs."""
    reuse: str = ""
    """An earlier result with several branches: those that are the same as what would be made are taken from there."""

    @field_validator("recipes", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        """One text, or several, each with one name or several with commas between."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            return value
        return [name.strip() for each in texts for name in each.split(",") if name.strip()]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        changed = [name for name in _OF_A_RECIPE if getattr(self, name) != type(self).model_fields[name].default]
        if self.recipes and changed:
            raise ValueError(f"recipes say bits, group size and act-order; leave out {' and '.join(changed)}")
        try:
            read_recipes(self.recipes)
        except UsageError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return self

    @property
    def all_recipes(self) -> list[GptqRecipe]:
        """What is made: those that `recipes` names, or the one that the section itself is."""
        if self.recipes:
            return read_recipes(self.recipes, self.damp)
        return [GptqRecipe(self.bits, self.group_size, self.desc_act, self.damp or DEFAULT_DAMP)]

    def of(self, recipe: GptqRecipe) -> Self:
        """The settings of one branch."""
        update = {name: getattr(recipe, name) for name in (*_OF_A_RECIPE, "damp")}
        return self.model_copy(update={**update, "recipes": [], "reuse": ""})

    def with_absolute_paths(self) -> Self:
        return self.model_copy(update={
            "calibration": [absolute_if_path(each) for each in self.calibration],
            "reuse": absolute_if_path(self.reuse),
        })  # fmt: skip
