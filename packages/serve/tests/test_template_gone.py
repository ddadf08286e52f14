"""A model whose template's plugin is gone is asked by the Jinja in its manifest, with the ids it was trained with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from camelid_core.artefacts import Manifest
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.template_contract import REFERENCE_CONVERSATION, make_contract
from camelid_core.testing import tiny_model
from camelid_serve.loaded_models import load_encoder


@pytest.mark.parametrize("name", ["chatml", "alpaca", "tulu", "vicuna"])
def test_the_manifest_is_enough(tmp_path, name):
    host = load_host()
    resolved = resolve_model(str(tiny_model(tmp_path / "tiny")), host)
    contract = make_contract(host.templates[name], load_tokenizer(resolved)).model_copy(update={"name": "gone"})
    resolved = replace(resolved, template="gone", manifest=Manifest(kind="model", template=contract))
    encoder = load_encoder(resolved, host, "")
    assert encoder.template.name == "gone"
    assert encoder.prompt_ids(REFERENCE_CONVERSATION) == contract.reference_ids
