"""The models of one job, one after the other: a base that the next one needs, too, stays loaded.

Knows which models share a base and what template is in force for each. Knows nothing of what they are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from camelid_core.artefacts import TemplateContract
from camelid_core.errors import CamelidError
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.reference import Reference
from camelid_core.plugins import Host
from camelid_core.template_contract import make_contract

from camelid_serve.config import PredictConfig
from camelid_serve.engine import Report
from camelid_serve.loaded_models import LoadedModel, LoadedModels


class Together:
    """`references` by label; how they are loaded, `config` says."""

    def __init__(self, references: Mapping[str, Reference], config: PredictConfig, host: Host, report: Report) -> None:
        self._references = references
        self._config = config
        self._host = host
        self._report = report
        self._residents = LoadedModels()

    @property
    def order(self) -> list[str]:
        """All labels, those of one base behind one another."""
        bases = list(dict.fromkeys(reference.base for reference in self._references.values()))
        return sorted(self._references, key=lambda label: bases.index(self._references[label].base))

    def get(self, label: str) -> LoadedModel:
        """The model, in place of the one before.

        Raises:
            CamelidError: as `load_model` does; the base that was loaded stays for the next.
        """
        self._residents.load_resolved(
            {label: self._references[label]}, self._host, self._config.engine_config, self._report
        )
        return self._residents.models[label]

    def contract(self, label: str) -> TemplateContract | None:
        """The template in force; None for a model whose tokenizer cannot be read."""
        reference = self._references[label]
        try:
            template = self._host.templates[self._config.template or reference.template]
            overrides = reference.template if template.name != reference.template else ""
            return make_contract(template, load_tokenizer(reference), overrides)
        except CamelidError:
            return None

    def drop(self) -> None:
        """Let go of what is loaded."""
        self._residents.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.drop()
