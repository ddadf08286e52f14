"""`camelid datasets lints|stats|clean|mix`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from camelid_core.testing import tiny_tokenizer

ROWS = [
    {"instruction": "What is red?", "output": "A colour. #art #paint"},
    {"instruction": "What is red?", "output": "A colour. #art #paint"},
    {"instruction": "What is red?", "output": "As an AI language model, I cannot see."},
    {"instruction": "Which?\\nOptions:\\n- yes", "output": "yes"},
    {"instruction": "Say it.", "output": ""},
]
ALL = "refusal,empty-output,short-answer,duplicate,trailing-hashtags,escaped-newlines"


@pytest.fixture
def file(home) -> str:
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return "a.jsonl"


def written(name: str) -> list[dict]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def test_lints_are_listed_with_what_can_be_fixed(camelid):
    rows = {row["lint"]: row for row in camelid("datasets", "lints", "--json").json}
    assert rows["trailing-hashtags"]["fix"] == "yes"
    assert rows["near-duplicate"]["default"] == ""


def test_stats_as_json_name_rows(camelid, file):
    found = camelid("datasets", "stats", file, "--json").json
    assert found["rows"] == 5
    counts = {name: lint["rows"] for name, lint in found["lints"].items() if lint["rows"]}
    expected = {"trailing-hashtags": 2, "duplicate": 1, "refusal": 1, "same-prompt": 1, "escaped-newlines": 1}
    assert counts == expected | {"empty-output": 1}
    assert found["lints"]["duplicate"]["examples"] == [{"row": 2, "what": "the same as row 1"}]
    assert found["languages"]


def test_stats_for_people(camelid, file):
    out = camelid("datasets", "stats", file).out
    assert out.startswith("a.jsonl: 5 rows in ")
    assert "trailing-hashtags            2   40.0%\n    row 1: the answer ends in '#art #paint'" in out
    assert "nothing found by: empty-instruction" in out
    only = camelid("datasets", "stats", f"{file}+{file}", "--lints", "duplicate", "--no-languages").out
    assert "10 rows" in only
    assert "refusal" not in only


def test_contamination_of_an_evaluation_set(camelid, file):
    text = "a train leaves the station at noon and goes sixty miles an hour for two whole hours"
    Path("eval.json").write_text(json.dumps([{"instruction": text, "output": "120"}]))
    Path("train.json").write_text(json.dumps([{"instruction": f"Think. {text}!", "output": "1"}, *ROWS]))
    found = camelid("datasets", "stats", "train.json", "--against", "eval.json", "--lints", "none", "--json").json
    assert {name: lint["rows"] for name, lint in found["lints"].items()} == {"contamination": 1}
    cleaned = camelid("datasets", "clean", "train.json", "--out", "c.jsonl", "--against", "eval.json", "--json").json
    assert cleaned[0]["dropped"] == {"lint contamination": 1}


def test_tokens_under_a_template_and_a_cut_off(camelid, tmp_path):
    model = tmp_path / "model"
    tiny_tokenizer(("<|im_start|>", "<|im_end|>", "<|endoftext|>")).save_pretrained(model)
    (model / "config.json").write_text('{"model_type": "llama"}')
    long = {"instruction": "word " * 200, "output": "late"}
    Path("b.json").write_text(json.dumps([*ROWS, long, {"instruction": "a", "output": "<|im_end|>"}]))
    ran = camelid("datasets", "stats", "b.json", "--model", model, "--template", "chatml", "--cutoff", 128, "--json")
    tokens = ran.json["tokens"]
    assert (tokens["rows"], tokens["truncated"], tokens["dropped"], tokens["refused"]) == (7, 0, 1, 0)
    assert {"row": 6, "what": "its answer begins after 128 tokens"} in tokens["examples"]
    assert ran.json["lints"]["control-tokens"]["examples"][0]["row"] == 7
    shown = camelid("datasets", "stats", "b.json", "--model", model, "--template", "chatml", "--cutoff", 128).out
    assert "1 rows (14.3%) left out: no answer within the cut-off" in shown


def test_cleaning_fixes_drops_and_tells(camelid, file):
    fixes, drops = "trailing-hashtags,escaped-newlines", ("--drop", "refusal", "--drop", "empty-output")
    ran = camelid("datasets", "clean", file, "--out", "b.jsonl", "--fix", fixes, *drops, "--dedupe", "exact")
    assert ran.code == 0
    assert [row["output"] for row in written("b.jsonl")] == ["A colour.", "yes"]
    assert "copy 1" in ran.out
    assert "trailing-hashtags 2, escaped-newlines 1" in ran.out
    assert ran.out.endswith("2 rows written to b.jsonl\n")


def test_cleaning_into_the_library(camelid, file):
    assert camelid("datasets", "clean", file, "--name", "a-clean", "--drop", "empty-output").code == 0
    assert camelid("datasets", "stats", "a-clean", "--json").json["rows"] == 4
    again = camelid("datasets", "clean", file, "--name", "a-clean")
    assert again.code == 2
    assert "a-clean" in again.err


def test_merge_deduplicate_and_drop_a_category_is_one_command(camelid, file):
    """airoboros m2.0: two versions merged, without copies, without the category 'system'."""
    old = [
        {"instruction": f"Q{n}", "response": f"A{n}", "category": "system" if n > 7 else "wordgame"} for n in range(10)
    ]
    Path("old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    Path("new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*old[:5], {**old[0], "instruction": "N"}]))
    options = ["--dedupe", "exact", "--drop-tag", "system", "--out", "m2.jsonl", "--json"]
    ran = camelid("datasets", "mix", "new.jsonl", "old.jsonl", *options)
    assert [(part["read"], part["taken"], part["dropped"]) for part in ran.json] == [
        (6, 6, {}),
        (10, 3, {"copy of a row in new.jsonl": 5, "tag system": 2}),
    ]
    assert sorted(row["instruction"] for row in written("m2.jsonl")) == ["N", *(f"Q{n}" for n in range(8))]


def test_weights_caps_and_a_total(camelid, file):
    Path("b.json").write_text(json.dumps([{"instruction": f"Q{n}", "output": "A"} for n in range(20)]))
    ran = camelid(
        "datasets", "mix", f"{file}:2", "b.json:0.5", "--cap", "b.json=4", "--rows", 12, "--out", "c.jsonl", "--json"
    )
    assert [part["taken"] for part in ran.json] == [9, 3]
    first = written("c.jsonl")
    camelid("datasets", "mix", f"{file}:2", "b.json:0.5", "--cap", "b.json=4", "--rows", 12, "--out", "c.jsonl")
    assert written("c.jsonl") == first
    shown = camelid("datasets", "mix", f"{file}+b.json", "--name", "both").out
    assert shown.endswith("25 rows written to both\n")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["mix", "a.jsonl"], 2, "either --out FILE or --name NEW"),
        (["mix", "a.jsonl", "--out", "x.doc"], 2, "x.doc"),
        (["mix", "a.jsonl", "--out", "x.json", "--dedupe", "fuzzy"], 2, "use no, exact or near"),
        (["mix", "a.jsonl", "--out", "x.json", "--cap", "a.jsonl"], 2, "write name=N"),
        (["mix", "a.jsonl", "--out", "x.json", "--cap", "b=1"], 2, "'b' is no source of this mixture"),
        (["mix", "a.jsonl", "--out", "x.json", "--drop", "refusals"], 2, "Did you mean 'refusal'?"),
        (["mix", "a.jsonl", "--out", "x.json", "--drop", ALL], 1, "no rows to train on. Left out:"),
        (["clean", "a.jsonl", "--out", "x.json", "--fix", "refusal"], 2, "has no fix"),
        (["stats", "a.jsonl", "--lints", "refusals"], 2, "Did you mean 'refusal'?"),
        (["stats", "nothing"], 2, "nothing"),
        (["stats", "a.jsonl", "--split", "test"], 2, "use train or heldout"),
    ],
)
def test_what_does_not_fit_is_a_sentence(camelid, file, arguments, code, sentence):
    ran = camelid("datasets", *arguments)
    assert ran.code == code
    assert sentence in ran.err
    assert not Path("x.json").exists()


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["clean", "a.jsonl", "--drop", "empty-output"], "link.jsonl"),
        (["clean", "a.jsonl", "--against", "b.jsonl"], "b.jsonl"),
        (["mix", "b.jsonl:2", "a.jsonl:0.5"], "./a.jsonl"),
        (["convert", "a.jsonl", "--rows", "1"], "a.jsonl"),
        (["convert", "a.jsonl", "--reader", "alpaca"], "a.jsonl"),
    ],
)
def test_the_original_is_never_changed(camelid, file, arguments, out):
    Path("b.jsonl").write_text(json.dumps({"instruction": "Which?", "output": "yes"}))
    Path("link.jsonl").symlink_to(file)
    before = Path(file).read_bytes(), Path("b.jsonl").read_bytes()
    ran = camelid("datasets", *arguments, "--out", out)
    assert (ran.code, ran.out) == (2, "")
    assert f"{str(Path(out))!r} is what is read; give another file." in ran.err
    assert (Path(file).read_bytes(), Path("b.jsonl").read_bytes()) == before
    assert Path("link.jsonl").is_symlink()
