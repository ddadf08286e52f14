"""What is published works in plain transformers: it loads, renders the trained ids, and stops where answers end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.artefacts import read_artefact
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.template_contract import make_contract
from camelid_core.testing import tiny_model, tiny_tokenizer, write_jsonl
from camelid_core.tokenization.encoder import Encoder
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.run import train
from camelid_train.saving.published_prompting import unstoppable_note, write_prompting
from camelid_train.testing import small_recipe
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

HOST = load_host()
NAMES = [name for name in HOST.templates.names() if name != "own"]
STOPS = {stop for name in NAMES for stop in HOST.templates[name].stops}
TURN_TOKENS = sorted(stop for stop in STOPS if re.fullmatch(r"<[^<>]+>", stop) and stop != "</s>")
CONVERSATION = [Message("user", "Two and two?\nHow many?"), Message("assistant", "4."), Message("user", "And 三?")]
ONE = [Message("user", "x"), Message("assistant", "y")]

PLAIN = """
import json, sys
assert not any(name.startswith("camelid") for name in sys.modules)
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor

class Force(LogitsProcessor):
    def __init__(self, start, tokens):
        self.start, self.tokens = start, tokens
    def __call__(self, ids, scores):
        at = ids.shape[1] - self.start
        forced = torch.full_like(scores, -1e9)
        forced[:, self.tokens[min(at, len(self.tokens) - 1)]] = 0
        return forced

answers = {}
for directory, (conversation, word, end) in json.loads(sys.stdin.read()).items():
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    settings = model.generation_config
    ids = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    forced = Force(ids.shape[1], [word, word, end, word])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=9, logits_processor=[forced])
    answers[directory] = [ids[0].tolist(), out[0].tolist(), settings.eos_token_id, settings.pad_token_id]
assert not any(name.startswith("camelid") for name in sys.modules)
print(json.dumps(answers))
"""


def ask_plainly(jobs: dict[str, Encoder]) -> dict[str, list]:
    """In a process without Camelid: prompt ids, what `generate` gives when the model writes a word twice, then what
    ends a trained answer, then words again; and the end-of-sequence and padding ids."""
    turns = [{"role": message.role, "content": message.content} for message in CONVERSATION]
    requests = {
        name: [turns, encoder.tokenizer("a", add_special_tokens=False)["input_ids"][0], encoder.example(ONE).labels[-1]]
        for name, encoder in jobs.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], input=json.dumps(requests), capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def base_with_turn_tokens(tmp_path_factory) -> Path:
    """A tiny model whose tokenizer adds a beginning of sequence and knows every template's turn tokens."""
    tokenizer = tiny_tokenizer(("<s>", "</s>", *TURN_TOKENS, "<pad>"), vocabulary=600)
    tokenizer.bos_token = "<s>"
    start = tokenizer.convert_tokens_to_ids("<s>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", start)]
    )
    return tiny_model(tmp_path_factory.mktemp("base") / "base", tokenizer=tokenizer)


@pytest.fixture(scope="module")
def published(base_with_turn_tokens, tmp_path_factory):
    """Every template, published beside the same weights, and what plain transformers makes of it."""
    folder, base = tmp_path_factory.mktemp("published"), base_with_turn_tokens
    config = json.loads((base / "config.json").read_text())
    jobs = {}
    for name in NAMES:
        tokenizer = AutoTokenizer.from_pretrained(base)
        encoder = Encoder(tokenizer, HOST.templates[name])
        shutil.copytree(base, folder / name)
        write_prompting(folder / name, base, config, encoder, make_contract(HOST.templates[name], tokenizer).jinja)
        jobs[str(folder / name)] = encoder
    answers = ask_plainly(jobs)
    return {Path(name).name: (encoder, answers[name]) for name, encoder in jobs.items()}


def assert_prompted_and_stopped(encoder: Encoder, answer: list) -> None:
    ids, out, eos, pad = answer
    end = encoder.example(ONE).labels[-1]
    assert encoder.ends_with_token
    assert end in (eos if isinstance(eos, list) else [eos])
    assert pad == encoder.tokenizer.pad_token_id
    assert len(out) == len(ids) + 3
    assert out[-1] == end


@pytest.mark.parametrize("name", NAMES)
def test_plain_transformers_prompts_a_published_model_as_trained_and_stops(name, published):
    encoder, answer = published[name]
    assert encoder.decode(answer[0]) == encoder.decode(encoder.prompt_ids(CONVERSATION))
    assert answer[0][0] == encoder.tokenizer.bos_token_id
    if not encoder.template.assistant.endswith(" "):  # the space before an earlier answer then is a token of its own
        assert answer[0] == encoder.prompt_ids(CONVERSATION)
    assert_prompted_and_stopped(encoder, answer)


def test_full_models_adapters_and_merged_models_bring_the_same(attempt, base_with_turn_tokens, sums, published):
    short = ("eval.samples=0", "train.max_steps=3", "train.preflight=false")
    full, lora, merged = attempt(job=1), attempt(job=2), attempt(job=3)
    train(small_recipe(base_with_turn_tokens, sums, (*short, 'method.type="full"')), full)
    train(small_recipe(base_with_turn_tokens, sums, short), lora)
    merge(MergeConfig(adapter=str(lora.output)), merged)
    encoder, answer = published["chatml"]
    assert answer[2] == [encoder.tokenizer.eos_token_id, encoder.special["<|im_end|>"]]
    for run in (full, lora, merged):
        settings = GenerationConfig.from_pretrained(run.output)
        assert (settings.eos_token_id, settings.pad_token_id) == (answer[2], encoder.tokenizer.pad_token_id)
        tokenizer = AutoTokenizer.from_pretrained(run.output)
        turns = [{"role": message.role, "content": message.content} for message in CONVERSATION]
        assert tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"] == answer[0]
        assert "generation_config.json" in read_artefact(run.output).manifest.files


def test_a_template_whose_end_no_token_says_is_named_in_the_runs_log(attempt, base, sums):
    run = attempt()
    train(small_recipe(base(), sums, ('data.template="llama-3"', "train.max_steps=1", "eval.samples=0")), run)
    notes = [event["text"] for event in run.events("log") if "ends answers with text" in event["text"]]
    assert len(notes) == 1
    assert "'<|eot_id|>'" in notes[0]


def test_settings_of_the_base_are_kept(base_with_turn_tokens, tmp_path):
    base = shutil.copytree(base_with_turn_tokens, tmp_path / "base")
    settings = {"do_sample": True, "temperature": 0.6, "eos_token_id": [7, 1], "pad_token_id": 5, "max_length": 99}
    (base / "generation_config.json").write_text(json.dumps(settings))
    encoder = Encoder(AutoTokenizer.from_pretrained(base), HOST.templates["chatml"])
    assert unstoppable_note(encoder) == ""
    out = tmp_path / "adapter"
    write_prompting(out, base, {"eos_token_id": 3}, encoder, "{{ 1 }}")
    written = json.loads((out / "generation_config.json").read_text())
    assert written == {**settings, "eos_token_id": [7, 1, encoder.special["<|im_end|>"]]}
    assert (out / "chat_template.jinja").read_text() == "{{ 1 }}"


@pytest.mark.slow
def test_a_model_that_learnt_to_stop_stops_in_plain_transformers(attempt, base_with_turn_tokens, tmp_path):
    rows = [{"instruction": f"Add {a} and {a}.", "output": "Seven pens."} for a in range(40)]
    learn = ('method.type="full"', "train.max_steps=60", "train.learning_rate=0.003", "data.eval_rows=0")
    run = attempt()
    data = write_jsonl(tmp_path / "seven.jsonl", rows)
    train(small_recipe(base_with_turn_tokens, data, ("eval.samples=0", *learn)), run)
    tokenizer = AutoTokenizer.from_pretrained(run.output)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Add 5 and 5."}], add_generation_prompt=True, return_tensors="pt"
    )
    model = AutoModelForCausalLM.from_pretrained(run.output)
    out = model.generate(**ids, max_new_tokens=40)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(out) == "Seven pens.<|im_end|>"
