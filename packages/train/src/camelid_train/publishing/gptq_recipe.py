"""What a GPTQ branch was quantised with, read from its manifest, and the name of its branch.

Names of branches are those of TheBloke's repositories. Knows the manifest's `parameters.export`. Knows no card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from camelid_core.artefacts import Manifest
from camelid_core.models.hub_names import MAIN


@dataclass(frozen=True, slots=True)
class GptqRecipe:
    """`group_size` is -1 where all rows of a column are one group; `seqlen` is the length of calibration texts."""

    bits: int
    group_size: int
    desc_act: bool
    damp: float = 0.01
    dataset: str = ""
    seqlen: int = 0
    tool: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Of a GPTQ artefact; what its manifest does not say is 0 or empty."""
        export: Mapping[str, Any] = manifest.parameters.get("export") or {}
        calibration = export.get("calibration")
        used: Mapping[str, Any] = calibration if isinstance(calibration, Mapping) else {"name": calibration or ""}
        return cls(
            bits=int(export.get("bits") or 0),
            group_size=int(export.get("group_size") or -1),
            desc_act=bool(export.get("desc_act")),
            damp=float(export.get("damp") or export.get("damp_percent") or 0.01),
            dataset=str(used.get("name") or ""),
            seqlen=int(used.get("seqlen") or 0),
            tool=str(export.get("tool") or ""),
        )

    @property
    def branch(self) -> str:
        """`gptq-4bit-32g-actorder_True`; without groups `gptq-8bit--1g-actorder_True`."""
        return f"gptq-{self.bits}bit-{self.group_size}g-actorder_{self.desc_act}"

    @property
    def is_default(self) -> bool:
        """Whether it is the one that belongs into `main`."""
        return (self.bits, self.group_size, self.desc_act) == (4, 128, False)

    @property
    def default_branch(self) -> str:
        return MAIN if self.is_default else self.branch
