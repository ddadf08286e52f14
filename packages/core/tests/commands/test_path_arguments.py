"""Path arguments of every command: an invalid path is one message and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BAD = {
    "300": "x" * 300,
    "5000": "x" * 5000,
    "deep": "/x" * 2500,
    "nobody": "~nobody-of-that-name/x",
    "zero": "a\0b",
}
NAMES = {
    "models show": "models show {}",
    "models pull": "models pull {}",
    "datasets show": "datasets show {}",
    "datasets stats": "datasets stats {}",
    "datasets stats, file": "datasets stats {}.jsonl",
    "datasets stats --against": "datasets stats rows.jsonl --against {}",
    "datasets stats --model": "datasets stats rows.jsonl --model {}",
    "datasets convert": "datasets convert {} --out x.json",
    "datasets convert --out": "datasets convert rows.jsonl --out {}.json",
    "datasets inspect": "datasets inspect {}.jsonl",
    "datasets add": "datasets add {}.jsonl --name x",
    "datasets add --name": "datasets add rows.jsonl --name {}",
    "datasets fetch": "datasets fetch {}",
    "datasets remove": "datasets remove {}",
    "datasets clean": "datasets clean {} --name x",
    "datasets clean --name": "datasets clean rows.jsonl --name {}",
    "datasets clean --out": "datasets clean rows.jsonl --out {}.jsonl",
    "datasets clean --against": "datasets clean rows.jsonl --name x --against {}",
    "datasets mix": "datasets mix {} rows.jsonl --name x",
    "datasets mix, weighed": "datasets mix rows.jsonl+{}:0.5 --name x",
    "datasets mix --name": "datasets mix rows.jsonl rows.jsonl --name {}",
    "datasets mix --out": "datasets mix rows.jsonl rows.jsonl --out {}.jsonl",
    "templates show": "templates show {}",
    "templates show --model": "templates show own --model {}",
    "templates render": "templates render {} rows.jsonl",
    "templates render, file": "templates render alpaca {}.jsonl",
    "templates render --tokens": "templates render alpaca row.json --tokens {}",
    "templates check": "templates check {}",
    "templates check, model": "templates check alpaca {}",
    "jobs bundle --out": "jobs bundle 1 --out {}.zip",
    "train": "train {}.toml",
    "train --name": "train model.name=m data.sources=rows.jsonl --name {}",
    "train model.name": "train model.name={} data.sources=rows.jsonl",
    "train data.sources": "train model.name=model data.sources={}",
    "train data.template": "train model.name=model data.sources=rows.jsonl data.template={}",
    "train train.output": "train model.name=model data.sources=rows.jsonl train.output={}",
    "merge": "merge {}",
    "merge --out": "merge adapter --out {}",
    "chat": "chat {}",
    "chat --template": "chat model --template {}",
    "chat --engine": "chat model --engine {}",
    "chat --preset": "chat model --preset {}",
    "predict": "predict {} rows.jsonl",
    "predict, rows": "predict model {}.jsonl",
    "predict, a dataset": "predict model {}",
    "predict --out": "predict model rows.jsonl --out {}.jsonl",
    "predict output": "predict model rows.jsonl output={}",
    "predict --also": "predict model rows.jsonl --also {}",
    "predict --template": "predict model rows.jsonl --template {}",
    "predict --name": "predict model rows.jsonl --name {}",
    "serve": "serve {}",
    "serve, labelled": "serve m={}",
    "serve --template": "serve model --template {}",
    "eval answers": "eval answers {}",
    "eval answers --data": "eval answers model --data {}",
    "eval answers --template": "eval answers model --template {}",
    "eval context": "eval context {} --lengths 64",
    "eval context --text": "eval context model --lengths 64 --text {}.txt",
    "eval passkey": "eval passkey {} --lengths 64",
    "prove": "prove {} model",
    "prove, export": "prove model {}",
    "prove --data": "prove model model --data {}.jsonl",
    "prove --template": "prove model model --template {}",
    "prove --out": "prove model model --out {}",
    "prove --name": "prove model model --name {}",
    "eval parity": "eval parity {}",
    "eval parity --input": "eval parity model --input {}.jsonl",
}


@pytest.fixture
def given(home, tmp_path, monkeypatch):
    """Rows, a model by its configuration alone, and an adapter on it: the bad name is all that is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("rows.jsonl").write_text('{"instruction": "q", "output": "a"}\n' * 4)
    Path("row.json").write_text('[{"role": "user", "content": "q"}]')
    for name, file, values in (
        ("model", "config.json", {"model_type": "llama"}),
        ("adapter", "adapter_config.json", {"base_model_name_or_path": str(tmp_path / "model")}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(values))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("command", NAMES.values(), ids=NAMES)
def test_what_nothing_can_be_called_is_a_sentence(camelid, given, command, bad):
    ran = camelid(*(word.replace("{}", BAD[bad]) for word in command.split()))
    assert ran.code == 2, ran.err
    assert ran.out == ""
    assert len(ran.err) < 1000
    assert "Traceback" not in ran.err
