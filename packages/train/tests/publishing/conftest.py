"""Artefacts of every kind, as their tasks write them: small, sound, and with a manifest that names this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from camelid_core.artefacts import BaseModelEntry, DatasetUse, Licences, Manifest, TemplateContract, write_manifest
from camelid_core.plugins import load_host

QUANTIZE_CONFIG = """{
  "bits": %d,
  "group_size": %d,
  "damp_percent": 0.01,
  "desc_act": %s,
  "sym": true,
  "true_sequential": true,
  "model_name_or_path": null,
  "model_file_base_name": "model"
}"""


def contract(name: str = "tulu") -> TemplateContract:
    return TemplateContract(name=name, jinja=load_host().templates[name].jinja(), sha256="0" * 64)


def manifest(kind: str, base: Path, **more: Any) -> Manifest:
    use = DatasetUse(id=f"{base.parent}/rows.jsonl", rows=40, sha256="1" * 64, licence="cc-by-4.0")
    values = {
        "kind": kind,
        "created": "2026-11-29T10:00:00+00:00",
        "base": BaseModelEntry(id="someone/tiny-base", path=str(base), model_type="llama"),
        "template": contract(),
        "datasets": [use],
        "parameters": {
            "data": {"sources": [f"{base.parent}/rows.jsonl"]},
            "method": {"type": "lora", "r": 4},
            "train": {"seed": 0, "output": str(base.parent / "out")},
        },
        "licences": Licences.of("apache-2.0", [use]),
    }
    return Manifest(**values | more)


def gptq_parameters(bits: int, group: int, act: bool, **more: Any) -> dict[str, Any]:
    calibration = {"name": "wikitext", "rows": 128, "seqlen": 2048, "hash": "2" * 64}
    export = {"type": "gptq", "bits": bits, "group_size": group, "desc_act": act, "damp": 0.01, "sym": True}
    return {"export": {**export, "calibration": calibration, "seconds": 9, "tool": "GPTQModel 7.6.0", **more}}


class Artefacts:
    """Makes artefacts below `root`, from a tiny model."""

    def __init__(self, root: Path, base: Path) -> None:
        self.root, self.base = root, base

    def model(self, name: str = "run-merged", **more: Any) -> Path:
        directory = shutil.copytree(self.base, self.root / name, ignore=shutil.ignore_patterns("README.md"))
        return self._written(directory, manifest("model", self.base, **more))

    def adapter(self, name: str = "run", **more: Any) -> Path:
        import torch
        from safetensors.torch import save_file

        directory = self.root / name
        directory.mkdir(parents=True)
        save_file({"lora_A.weight": torch.ones(2, 2)}, directory / "adapter_model.safetensors", {"format": "pt"})
        settings = {"peft_type": "LORA", "r": 4, "base_model_name_or_path": str(self.base)}
        (directory / "adapter_config.json").write_text(json.dumps(settings, indent=2))
        for each in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(self.base / each, directory / each)
        return self._written(directory, manifest("adapter", self.base, **more))

    def gptq(self, bits: int, group: int, act: bool, name: str = "run-gptq/main", **more: Any) -> Path:
        import torch
        from safetensors.torch import save_file

        directory = self.root / name
        directory.mkdir(parents=True)
        weights = {"qweight": torch.full((bits, 4), group, dtype=torch.int32)}
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
        for each in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(self.base / each, directory / each)
        settings = QUANTIZE_CONFIG % (bits, group, json.dumps(act))
        (directory / "quantize_config.json").write_text(settings)
        config = json.loads((directory / "config.json").read_text())
        config["quantization_config"] = {**json.loads(settings), "quant_method": "gptq"}
        (directory / "config.json").write_text(json.dumps(config, indent=2))
        made = {"parameters": gptq_parameters(bits, group, act), **more}
        return self._written(directory, manifest("gptq", self.base, **made))

    def gguf(self, kind: str, name: str = "", **more: Any) -> Path:
        from gguf import GGUFWriter
        from numpy import ones

        directory = self.root / (name or f"run-{kind.lower()}")
        directory.mkdir(parents=True)
        writer = GGUFWriter(directory / f"run.{kind}.gguf", "llama")
        writer.add_string("general.name", "run")
        writer.add_tensor("output.weight", ones(len(kind), dtype="float32"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parameters = {"export": {"type": "gguf", "quantization": kind.lower()}}
        return self._written(directory, manifest("gguf", self.base, parameters=parameters, **more))

    def family(self) -> list[str]:
        """One run's four artefacts; GPTQ with two branches, GGUF with two files."""
        made = [
            self.adapter(),
            self.model(),
            self.gptq(4, 128, False),
            self.gptq(4, 32, True, "run-gptq/gptq-4bit-32g-actorder_True"),
        ]
        return [str(each) for each in (made[0], made[1], made[2].parent, self.gguf("Q4_K_M"), self.gguf("Q8_0"))]

    def _written(self, directory: Path, made: Manifest) -> Path:
        (directory / "README.md").write_text("# The short card\n")
        write_manifest(directory, made)
        return directory


@pytest.fixture
def artefacts(home, base: Callable[..., Path], tmp_path) -> Artefacts:
    return Artefacts(tmp_path / "made", base())


@pytest.fixture
def making() -> SimpleNamespace:
    """How the parts of a manifest are made."""
    return SimpleNamespace(contract=contract, manifest=manifest, gptq_parameters=gptq_parameters)
