"""Alpaca-CoT's scripts as its manual has them: the command each means, and doing it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from camelid_core.artefacts import Manifest, TemplateContract, write_manifest
from camelid_core.cli import load_command
from camelid_core.compat.command_lines import show_or_run
from camelid_core.errors import UsageError
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model, write_jsonl
from camelid_serve.compat.scripts import SCRIPTS, read
from hypothesis import given, settings
from hypothesis import strategies as st

MANUAL = {
    "generate --data alpaca-belle-cot --model_type llama": "chat decapoda-research/llama-7b-hf "
    "--preset alpaca-cot --template alpaca",
    "generate --data alpaca --model_type chatglm --model_name_or_path THUDM/chatglm-6b": "chat THUDM/chatglm-6b "
    "--preset alpaca-cot --template chatglm",
    "server --model_type llama --size 7b --lora_dir xxx --lora_r 8 --lora_alpha 16 --lora_dropout 0.05 "
    "--local_rank 0": "chat xxx --temperature 0 --max-new-tokens 512 --template alpaca",
    "server ---model_type bloom --size 7b": "chat bigscience/bloomz-7b1-mt --temperature 0 "
    "--max-new-tokens 512 --template alpaca",
    "predict --model_type llama --size 7b --data for_dict_data --result_dir yyy": "predict "
    "decapoda-research/llama-7b-hf data/for_dict_data.json --out yyy --batch-size 128 "
    "--temperature 0 --max-new-tokens 512 --template alpaca",
    "web --model_type llama --size 7b --lora_dir xxx": "serve xxx --host 127.0.0.1 --port 8410 --template alpaca",
    "web --llm llama --model_path decapoda-research/llama-13b-hf": "serve decapoda-research/llama-13b-hf "
    "--host 127.0.0.1 --port 8410 --template alpaca",
    "web --host 0.0.0.0 --lora_dir xxx": "serve xxx --host 0.0.0.0 --port 8410 --template alpaca",
}
ASKED = {"": "alpaca", "chatglm": "chatglm", "--lora_dir x chatglm": "alpaca", "moss": "alpaca"}
ASKED |= {"--lora_dir x moss": "moss-alpaca", "bloom": "alpaca", "unheard_of": "alpaca"}
"""How the original asked a type of model, with and without an adapter."""


@pytest.fixture(autouse=True)
def _nothing_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(("given_line", "meant"), MANUAL.items(), ids=[line.split()[0] for line in MANUAL])
def test_what_the_manual_types_means_a_command(given_line, meant):
    script, *arguments = given_line.split()
    line = read(script, arguments)
    assert str(line) == f"camelid {meant}"
    assert line.unknown == []


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("model", "template"), ASKED.items())
def test_each_type_is_asked_as_the_original_asked_it(script, model, template):
    *adapter, kind = model.split(" ")
    line = read(script, [*adapter, *(["--model_type", kind] if kind else [])])
    assert line.words[-2:] == ["--template", template]
    assert f"--template {template}: how the original asked" in "\n".join(line.remarks)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("flag", ["--lora_dir", "--model_path", "--model_name_or_path"])
def test_an_artefact_is_asked_with_the_template_that_it_was_trained_with(script, flag, tmp_path):
    """Whatever type is named, and wherever its base may be."""
    (tmp_path / "tuned").mkdir()
    contract = TemplateContract(name="chatml", jinja="", sha256="0")
    write_manifest(tmp_path / "tuned", Manifest(kind="adapter", template=contract))
    line = read(script, ["--model_type", "moss", flag, "./tuned"])
    assert "--template" not in line.words
    assert "Asked with chatml, the template that ./tuned was trained with." in line.remarks


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_it_means_is_a_line_that_camelid_takes(script):
    name, *words = read(script, ["--lora_dir", "xxx"]).words
    command = load_command(load_host().commands[name])
    assert command.make_context(name, list(words)).params


@pytest.mark.parametrize("script", SCRIPTS)
@settings(max_examples=30, deadline=None)
@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_whatever_is_named_is_quoted(script, value):
    try:
        line = read(script, [f"--lora_dir=d{value}", "--data", f"d{value}"])
    except UsageError:
        return
    assert shlex.split(str(line)) == ["camelid", *line.words]
    assert f"d{value}" in line.words


def test_the_adapter_that_training_left_answers(tmp_path):
    arguments = ["--data", "alpaca-belle-cot", "--model_type", "llama"]
    before = read("generate", arguments)
    assert before.notes[0].startswith("No adapter is at ./saved_models/llama_alpaca-belle-cot or ./saved-alpaca-")
    (tmp_path / "saved-alpaca-belle-cot7b").mkdir()
    assert read("generate", arguments).words[1] == "./saved-alpaca-belle-cot7b"
    (tmp_path / "saved_models" / "llama_alpaca-belle-cot").mkdir(parents=True)
    assert read("generate", arguments).words[1] == "./saved_models/llama_alpaca-belle-cot"


def test_files_are_found_where_the_original_kept_them(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("data/for_dict_data.json", "own.json"):
        (tmp_path / name).write_text("[]")
    assert read("predict", ["--data", "for_dict_data"]).words[2] == "data/for_dict_data.json"
    assert read("predict", ["--data", "own.json"]).words[2] == "own.json"
    assert read("predict", ["--data", "own"]).words[2] == "own.json"
    assert "is not here" in " ".join(read("predict", []).notes)
    assert read("predict", ["--result_dir", "data"]).words[4] == "data/saved_result.txt"


def test_what_has_no_word_here_is_said():
    line = read("predict", ["--cutoff_len", "256", "--quantization_bit", "8", "--deepspeed", "x.json"])
    assert line.unknown == ["--deepspeed", "x.json"]
    said = "\n".join(line.remarks)
    for words in (
        "--cutoff_len 256",
        "4 beams",
        "--quantization_bit 8",
        "No weights are known as belle_bloom",
        "x.json",
    ):
        assert words in said


def test_a_flag_without_its_value_is_a_sentence():
    with pytest.raises(UsageError, match="server: argument --lora_dir: expected one argument"):
        read("server", ["--lora_dir"])


def test_without_run_nothing_is_done(capsys):
    show_or_run(read("web", ["--lora_dir", "xxx", "--wild"]), run=False)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "camelid serve xxx --host 127.0.0.1 --port 8410 --template alpaca"
    assert all(line.startswith("# ") for line in printed[:-1])


@pytest.mark.slow
def test_predict_is_done_when_asked_for(tmp_path):
    """As the original wrote it: each record with what was generated, in the order of the file."""
    model = tiny_model(tmp_path / "model")
    rows = [{"instruction": f"给我 {number}", "input": "", "output": ""} for number in range(3)]
    write_jsonl(tmp_path / "questions.jsonl", rows)
    arguments = f"--model_name_or_path {model} --data questions.jsonl --result_dir yyy --predict_batch_size 2 --run"
    command = [sys.executable, "-m", "camelid_core.cli", "compat", "predict", *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    assert "camelid predict" in done.stderr
    lines = (tmp_path / "yyy").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["instruction"] for line in lines] == [row["instruction"] for row in rows]
    assert all("generate" in json.loads(line) for line in lines)
    assert "给我" in lines[0]
