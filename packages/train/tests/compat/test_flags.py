"""Argument lists of uniform_finetune.py: its manual's, in any spelling; what nobody knows is listed."""

from __future__ import annotations

import json
import math
import shlex
import tomllib
from pathlib import Path

import pytest
from camelid_core.config import validate
from camelid_core.errors import UsageError
from camelid_train.compat import finetune
from camelid_train.compat.flags import LATER, parse
from camelid_train.compat.uniform_finetune import read
from camelid_train.config import Recipe
from camelid_train.monitoring.evaluation import check_recipe
from camelid_train.toml import to_toml
from hypothesis import given
from hypothesis import strategies as st

README = json.loads(Path(__file__).with_name("readme.json").read_text())
"""The three commands of the original's manual, word for word."""

BATCH = ("per_gpu_train_batch_size", "gradient_accumulation_steps")


def recipe_of(text: str, *more, reader=read) -> Recipe:
    """Through the TOML that is printed."""
    translated = reader(shlex.split(text), *more)
    return validate(Recipe, tomllib.loads(to_toml(translated.values, translated.notes)), "the flags")


@pytest.mark.parametrize(
    ("name", "model", "method", "batch", "rate"),
    [
        ("llama", "decapoda-research/llama-7b-hf", ("qlora", 8, 16, 0.05, ["q_proj", "v_proj"]), 4, 3e-4),
        ("chatglm", "THUDM/chatglm-6b", ("lora", 32, 32, 0.1, ["query_key_value"]), 2, 2e-5),
        ("bloom", "bigscience/bloomz-7b1-mt", ("qlora", 8, 16, 0.05, ["query_key_value"]), 4, 3e-4),
    ],
)
def test_the_manuals_commands_mean_what_they_meant(name, model, method, batch, rate):
    recipe = recipe_of(README[name])
    found = recipe.method
    assert (found.type, found.r, found.alpha, found.dropout, found.targets) == method
    assert recipe.model.name == model
    assert (recipe.train.batch_size, recipe.train.accumulation, recipe.train.learning_rate) == (batch, 32, rate)
    assert (recipe.train.epochs, recipe.train.seed, recipe.data.split_seed) == (1, 42, 42)
    assert (recipe.data.sources, recipe.data.cutoff, recipe.data.eval_rows) == (["alpaca-belle-cot"], 512, 2000)
    assert recipe.data.template == "alpaca"
    assert recipe.train.output == f"./saved_models/{name}_alpaca-belle-cot"


def test_defaults_are_the_originals():
    recipe = recipe_of("--data cot")
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.accumulation) == (3, 4, 32)
    assert (recipe.train.learning_rate, recipe.data.cutoff, recipe.data.eval_rows) == (3e-4, 512, 2000)
    assert (recipe.method.r, recipe.method.alpha, recipe.method.dropout) == (8, 16, 0.05)
    assert (recipe.train.keep, recipe.train.best) == (11, False)  # how often to measure is not known without the rows
    assert recipe.method.targets == []  # each family's own, where the original took q_proj and v_proj for all
    assert recipe.model.name == "decapoda-research/llama-7b-hf"


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("--model_type llama --size 7b", "decapoda-research/llama-7b-hf"),
        ("--model_type llama --size 13b", "decapoda-research/llama-13b-hf"),
        ("--model_type llama_13b", "decapoda-research/llama-13b-hf"),
        ("--model_type chatglm --size 6b", "THUDM/chatglm-6b"),
        ("--model_type bloom --size 7b", "bigscience/bloomz-7b1-mt"),
        ("---model_type moss", "fnlp/moss-moon-003-sft"),
        ("--model_type llama --size 7b --model_name_or_path /mine", "/mine"),
    ],
)
def test_short_names_and_paths_name_weights(model, weights):
    assert recipe_of(f"{model} --data cot").model.name == weights


def test_unknown_weights_are_the_default_and_it_is_said():
    translated = read(["--data", "cot", "--model_type", "chatglm", "--size", "7b"])
    assert translated.values["model"]["name"] == "decapoda-research/llama-7b-hf"
    assert any("No weights are known as chatglm 7b" in note for note in translated.notes)


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("--peft_type lora --quantization_bit 4", {"type": "qlora", "quantization": "nf4"}),
        ("--peft_type qlora --model_type internlm", {"type": "qlora", "quantization": "nf4"}),
        ("--peft_type adalora", {"type": "adalora", "initial_r": 12, "target_r": 8, "warmup_steps": 200}),
        ("--peft_type prompt", {"type": "prompt", "tokens": 20}),
        ("--peft_type p_tuning --num_virtual_tokens 5", {"type": "p-tuning", "tokens": 5, "hidden": 128}),
        ("--peft_type prefix", {"type": "prefix", "tokens": 20}),
    ],
)
def test_later_methods_have_their_defaults(text, method):
    found = recipe_of(f"{text} --data cot").method.model_dump()
    assert method.items() <= found.items()


def test_the_output_is_named_as_it_was_then_and_later():
    def output(text):
        return recipe_of(text).train.output

    assert output("--data a.json --model_type bloom") == "./saved_models/bloom_a"
    assert output("--data ./x/belle_cn.json cot --model_type llama") == "./saved_models/llama_belle_cn+cot_0.0003/lora"
    assert output("--data cot --peft_type p_tuning") == "./saved_models/llama_cot_0.0003/p_tuning"
    assert output("--data cot --output_dir out/mine") == "./out/mine"
    assert {"peft_type", "output_dir", "adalora_tinit"} <= LATER


@given(st.integers(0, 3_000_000), st.integers(1, 64), st.integers(1, 64), st.floats(0.1, 10), st.integers(1, 8))
def test_no_size_of_data_breaks_the_schedule(rows, batch, sums, epochs, world):
    """The original divides small sets down to no step at all, and holds out more rows than there are."""
    text = f"--data cot --per_gpu_train_batch_size {batch} --gradient_accumulation_steps {sums} --epochs {epochs:.3f}"
    recipe = recipe_of(text, rows, world)
    assert recipe.train.save_steps >= 1
    assert recipe.eval.steps == recipe.train.save_steps
    assert 1 <= recipe.train.log_steps <= 20
    assert recipe.data.eval_rows <= rows / 10
    assert 0 <= recipe.train.warmup < 1


@pytest.mark.parametrize("reader", [read, finetune.read])
@pytest.mark.parametrize(("rows", "best"), [(102_000, True), (10, True), (9, False)])
def test_the_weights_of_the_lowest_held_out_loss_are_the_result_where_rows_are_held_out(reader, rows, best):
    recipe = recipe_of("--data cot", rows, reader=reader)
    assert recipe.train.best == best
    check_recipe(recipe)


def test_where_that_cannot_be_it_is_said():
    assert "the last weights are kept, where the original took" in "\n".join(read(["--data", "cot"]).notes)


@pytest.mark.parametrize(
    ("data", "template", "said"),
    [
        ("cot", "alpaca", False),
        ("multiturn_chat", "alpaca-dialogue", False),
        ("./data/multiturn_chat_0.8M.json", "alpaca-dialogue", False),
        ("cot multiturn_chat", "alpaca", True),
        ("belle_cn", "alpaca", True),
    ],
)
def test_conversations_are_written_as_dialogues_or_it_is_said(data, template, said):
    translated = read(["--data", *data.split()])
    assert translated.values["data"]["template"] == template
    assert any("alpaca-dialogue" in note for note in translated.notes) == said
    first = finetune.read(["--data", *data.split()])
    assert first.values["data"]["template"] == "alpaca-newline"  # the first script knew no dialogues
    assert not any("alpaca-dialogue" in note for note in first.notes)


def test_a_tenth_of_an_epoch_is_warm_up_evaluation_and_saving():
    recipe = recipe_of("--data cot --val_set_size 2000 --epochs 3", 102_000)
    assert (recipe.train.save_steps, recipe.eval.steps) == (78, 78)  # 100000 // 128 / 10
    assert math.ceil(recipe.train.warmup * 3 * math.ceil(100_000 / 128)) == 78


def test_curves_go_where_the_original_sent_them_if_we_can():
    known, unknown = (recipe_of(f"--data cot --report_to {name}") for name in ("tensorboard", "comet_ml"))
    assert (known.train.report_to, unknown.train.report_to) == (["tensorboard"], [])
    notes = read(["--data", "cot", "--report_to", "comet_ml"]).notes
    assert any("--report_to comet_ml: not sent" in note for note in notes)


def test_what_nobody_knows_is_listed_and_nothing_else():
    flags, unknown, given = parse(["--data", "cot", "--foo", "1", "--local-rank", "3", "--local_rank=2", "--fsdp"])
    assert unknown == ["--foo", "1", "--fsdp"]
    assert flags.local_rank == 2
    assert given == {"data", "local_rank"}
    assert parse(["--data", "x", "--local_rank", "-1"])[0].local_rank == -1
    assert parse(["--data", "x", "--resume_from_checkpoint"])[0].resume_from_checkpoint == "true"
    assert parse(["--data", "a", "b", "--epochs", "1"])[0].data == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "--data is needed"),
        ("--data", "--data is needed"),
        ("--data cot --epochs many", "invalid float value: 'many'"),
        ("--data cot --peft_type bottleneck", "--peft_type 'bottleneck'; use lora, qlora, adalora"),
        ("--data cot --quantization_bit 3", "--quantization_bit 3; use 4 or 8"),
        ("--data cot --compute_dtype fp8", "--compute_dtype 'fp8'; use fp32, bf16, fp16"),
        *((f"--data cot --epochs={text}", "; use more than 0, at most 1000") for text in ("0", "-1", "nan", "inf")),
        *((f"--data cot --{flag}=0", f"--{flag} 0; use more than 0, at most 4096") for flag in BATCH),
    ],
)
def test_what_does_not_fit_is_a_sentence(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        read(shlex.split(text))


@pytest.mark.parametrize(("world", "sums"), [(1, 32), (4, 8), (64, 1)])
def test_the_first_script_had_its_settings_built_in(world, sums):
    recipe = recipe_of("--size 13 --data alpaca.json --local_rank 1", 50_000, world, reader=finetune.read)
    train, rows = recipe.train, 50_000 - 2000
    assert (recipe.model.name, train.output) == ("decapoda-research/llama-13b-hf", "./saved-alpaca13b")
    assert (train.batch_size, train.accumulation, train.epochs, train.learning_rate) == (4, sums, 3, 3e-4)
    assert (recipe.method.r, recipe.method.alpha, recipe.method.dropout) == (8, 16, 0.05)
    assert (train.save_steps, recipe.eval.steps, train.keep, recipe.data.eval_rows) == (200, 200, 3, 2000)
    assert math.ceil(train.warmup * 3 * math.ceil(rows / (4 * sums * world))) == 100
    assert recipe_of("--data a", 300, reader=finetune.read).train.warmup < 1
    with pytest.raises(UsageError, match="finetune: --data is needed"):
        finetune.read([])


values = st.one_of(
    st.booleans(), st.integers(-(10**9), 10**9), st.text(), st.lists(st.text()), st.floats(allow_nan=False, width=32)
)


@given(st.dictionaries(st.sampled_from(["a", "bc", "d_e"]), values), st.lists(st.text()))
def test_toml_reads_back_as_what_was_written(section, comments):
    from math import isfinite

    section = {key: value for key, value in section.items() if not isinstance(value, float) or isfinite(value)}
    assert tomllib.loads(to_toml({"s": section}, comments)) == {"s": section}
