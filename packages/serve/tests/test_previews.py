"""What the first rows look like to the model: to the letter what it is given later, and nothing is started for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from camelid_core.jobs.foreground import open_store
from camelid_core.testing import write_jsonl
from camelid_serve.commands.predict import predict
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.predict.inputs import open_input

ASKED = {"Frage": "Why <|im_end|>?", "text": "Because\n中文.", "n": 4}


def test_a_preview_is_what_the_model_is_given(
    tiny: LoadedModel, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(
        write_jsonl(tmp_path / "in.jsonl", [ASKED, {"Frage": " ", "text": ""}, {"Frage": "x " * 900, "text": ""}])
    )
    predict(str(base), path, columns="instruction=Frage,input=text", preview=True, as_json=True)
    first, blank, long = json.loads(capsys.readouterr().out)["tiny"]
    row = next(open_input(path, "instruction=Frage,input=text").rows())
    ids = tiny.prompt_ids(row.messages)
    assert first["prompt"] == tiny.encoder.tokenizer.decode(ids)
    assert (first["number"], first["tokens"]) == (1, len(ids))
    assert "the question is empty" in blank["error"]
    assert "512" in long["error"]
    predict(str(base), path, columns="instruction=Frage", template="vicuna", preview=True, limit=2)
    said = capsys.readouterr().out
    assert "tiny, row 1: " in said
    assert "USER: Why <|im_end|>? ASSISTANT:" in said
    assert "row 3" not in said
    assert open_store().list() == []
