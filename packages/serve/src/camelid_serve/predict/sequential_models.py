"""The models of one job, loaded one after the other: a base model that the next one needs too stays loaded.

Knows which models share a base model and which template each uses. Knows nothing of prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from camelid_core.artefacts import TemplateContract
from camelid_core.errors import CamelidError
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.template_choice import base_template_of, template_of
from camelid_core.plugins import Host
from camelid_core.template_contract import make_contract

from camelid_serve.config import PredictConfig
from camelid_serve.engine import Report
from camelid_serve.loaded_models import LoadedModel, LoadedModels


class SequentialModels:
    """Resolved `models` by label; `config` says how they are loaded."""

    def __init__(self, models: Mapping[str, ResolvedModel], config: PredictConfig, host: Host, report: Report) -> None:
        self._models = models
        self._config = config
        self._host = host
        self._report = report
        self._loaded = LoadedModels()

    @property
    def order(self) -> list[str]:
        """All labels, grouped by base model."""
        bases = list(dict.fromkeys(model.base for model in self._models.values()))
        return sorted(self._models, key=lambda label: bases.index(self._models[label].base))

    def get(self, label: str) -> LoadedModel:
        """Load this model in place of the one before.

        Raises:
            CamelidError: as `load_model` does; the base that was loaded stays for the next.
        """
        self._loaded.load_resolved({label: self._models[label]}, self._host, self._config.engine_config, self._report)
        return self._loaded.models[label]

    def contract(self, label: str) -> TemplateContract | None:
        """Contract of the template in use; None for a model whose tokenizer cannot be read."""
        model = self._models[label]
        try:
            if self._config.base and model.base_template and not self._config.template:
                template = base_template_of(model, self._host)
            else:
                template = template_of(model, self._host, self._config.template)
            overrides = model.template if template.name != model.template else ""
            return make_contract(template, load_tokenizer(model), overrides)
        except CamelidError:
            return None

    def unload(self) -> None:
        """Unload what is loaded."""
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.unload()
