"""Configuration of a merge: adapters with their weights, and the base that they are merged into. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from camelid_core.config import Config
from camelid_core.paths import absolute_if_path
from pydantic import AfterValidator, Field

from camelid_train.config import ShardSize, plain_name


@dataclass(frozen=True, slots=True)
class WeightedAdapter:
    """An adapter and its weight among those that are merged together."""

    name: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> WeightedAdapter:
        """`name` or `name:weight`. Raises ValueError: the weight is 0, or beyond 10."""
        name, colon, weight = text.rpartition(":")
        try:
            value = float(weight) if colon else 1.0
        except ValueError:
            return cls(text)
        if not 0 < abs(value) <= 10:
            raise ValueError(f"{text!r}: the weight must be between -10 and 10, and not 0")
        return cls(name if colon else text, value)

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.name}:{self.weight:g}"


def _check_weight(text: str) -> str:
    WeightedAdapter.parse(text)
    return text


AdapterText = Annotated[str, AfterValidator(_check_weight)]


class MergeConfig(Config):
    """Merge an adapter, or several, into their base model."""

    adapter: AdapterText
    """Adapter to merge: an artefact's name or a directory. Also: `adapter_name_or_path`, `lora_model_dir`."""
    others: list[AdapterText] = []
    """Further adapters of the same base, merged together with the first. Each may have a weight, as in chinese:0.5; a
    negative one takes away what an adapter learned."""
    combine: Literal["sum", "ties", "dare", "dare-ties", "magnitude"] = "sum"
    """How several adapters are combined: sum adds their changes, exactly; ties keeps the largest of each and where most
    agree on the sign; dare drops changes at random and scales up the rest; magnitude keeps the largest. Also:
    `combination_type`."""
    density: float = Field(0.5, gt=0, le=1)
    """Density: the share of each adapter's changes that is kept, for every way of combining but sum."""
    dare_seed: int = 0
    """Seed: decides which changes dare drops."""
    base_model: str = ""
    """Base model to merge into; empty takes the one that the adapter was trained on, or where that is stored quantised
    the full-precision model it was made from. Also: `base_model_name_or_path`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Dtype of the merged weights; auto keeps that of the base model. Also: `torch_dtype`."""
    weights: Literal["plain", "as-trained"] = "plain"
    """Base weights to merge into: plain, in full precision; or as-trained, as qlora and lora-gptq saw them: quantised
    and dequantised."""
    memory: Literal["auto", "whole", "layer"] = "auto"
    """What is in memory: the whole model in float32, whose logits are compared; or one layer at a time, where the
    outputs of every layer are. auto takes whole where that fits and one adapter is merged."""
    shard: ShardSize = "4GB"
    """Maximum shard size: the largest weights file of the merged model. Also: `max_shard_size`, `export_size`."""
    output: str = ""
    """Output directory of the merged model; empty publishes under the job's name in Camelid's home.
    Also: `export_dir`."""

    @property
    def adapters(self) -> list[WeightedAdapter]:
        """All of them, with their weights."""
        return [WeightedAdapter.parse(text) for text in (self.adapter, *self.others)]

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    @property
    def default_name(self) -> str:
        """The default name of its job: after the adapter, in characters that a name may have."""
        return plain_name(Path(self.adapters[0].name).name, "adapter") + "-merged"

    def with_absolute_paths(self) -> MergeConfig:
        """With relative paths made absolute."""
        first, *others = (str(replace(each, name=absolute_if_path(each.name))) for each in self.adapters)
        paths = {name: absolute_if_path(getattr(self, name)) for name in ("base_model", "output")}
        return self.model_copy(update={**paths, "adapter": first, "others": others})
