"""How far weights are read is told while Transformers reads them: all of their bytes, and the files they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from camelid_core.integrity import safetensors_header
from camelid_core.models import weight_reading
from camelid_core.models.loading import load_base
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.weight_reading import WeightsRead, weights_listener
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model


def files(model: Path) -> dict[str, int]:
    """Bytes of tensors in each file."""
    headers = {path.name: safetensors_header(path) for path in model.glob("*.safetensors")}
    return {
        name: sum(
            end - start for item in header.values() if (ends := item.get("data_offsets")) for start, end in [ends]
        )
        for name, header in headers.items()
    }


def told(model: Path) -> list[WeightsRead]:
    found: list[WeightsRead] = []
    with weights_listener(found.append):
        load_base(resolve_model(str(model), load_host()), "float32")
    return found


@pytest.fixture(params=["llama", "gpt_neox", "in shards", "mixture of experts"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param in ("llama", "gpt_neox"):
        return tiny_model(tmp_path / "model", request.param)
    from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

    made = tiny_model(tmp_path / "model")
    tensors = AutoModelForCausalLM.from_pretrained(made)
    if request.param == "mixture of experts":  # its experts' tensors become one
        shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = MixtralConfig(
            **shape, num_key_value_heads=2, vocab_size=tensors.config.vocab_size, num_local_experts=3
        )
        tensors = MixtralForCausalLM(config)
    (made / "model.safetensors").unlink()
    tensors.save_pretrained(made, max_shard_size="100KB")
    return made


def test_all_bytes_of_all_files_are_told_in_order(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_reading, "_SECONDS_BETWEEN", 0)
    reads, sizes = told(model), files(model)
    assert {each.file for each in reads} == set(sizes)
    assert {each.total for each in reads} == {sum(sizes.values())}
    done = [each.done for each in reads]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, sum(sizes.values()))


def test_tensors_that_take_no_part_are_not_counted(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    (model / "another.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    (last,) = {each.total for each in told(model)}
    assert last == files(model)["model.safetensors"]


def test_nobody_who_does_not_listen_is_told(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    found = told(model)
    before = list(found)
    load_base(resolve_model(str(model), load_host()), "float32")
    assert found == before
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 9}))
    with pytest.raises(Exception, match="missing"):
        told(model)
    from transformers.utils import logging

    assert logging.set_tqdm_hook(None) is None
