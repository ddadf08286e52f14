"""Batch predict: input order, every field, each row exactly once whatever happens, bad rows harm no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import camelid_serve.predict.task as module
import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ArtefactError, DataError, UsageError
from camelid_core.integrity import fingerprint
from camelid_core.records import Message
from camelid_core.tasks import Interrupted
from camelid_core.testing import write_jsonl
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_serve.engines.transformers import TransformersEngine
from camelid_serve.generation import continuation_ids, generate
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.predict.inputs import PREDICTIONS, input_of, open_input
from camelid_serve.predict.prediction_rows import answered_rows
from camelid_serve.predict.previews import preview_prompts, prompt_text
from camelid_serve.predict.task import WORK, recorded_answers, run

from .context import Attempt

ROWS: list[dict[str, Any]] = [
    {"instruction": f"Add {n} and {n * n}." + " Please." * (n % 5), "input": "now" * (n % 2), "topic": "加法", "n": n}
    for n in range(12)
]


@pytest.fixture
def config(base: Path, tmp_path: Path) -> PredictConfig:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    return PredictConfig(model=str(base), input=str(source), sampling=Sampling(max_new_tokens=6), batch_size=3)


def results(attempt: Attempt) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (attempt.output / PREDICTIONS).read_text(encoding="utf-8").splitlines()]


def test_order_fields_and_manifest(config: PredictConfig, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "job")
    summary = run(config, attempt)
    answered = results(attempt)
    assert [{key: row[key] for key in ROWS[0]} for row in answered] == ROWS
    assert all(isinstance(row["generate"], str) for row in answered)
    assert "加法" in (attempt.output / PREDICTIONS).read_text(encoding="utf-8")
    assert (summary["rows"], summary["failed"]) == (12, 0)
    manifest = verify_directory(attempt.output).manifest
    assert manifest.kind == "predictions"
    assert manifest.template is not None
    assert manifest.template.name == "alpaca"
    last = [event for event in attempt.events if event["kind"] == "progress"][-1]
    assert (last["done"], last["total"], last["unit"], last["eta"]) == (12, 12, "rows", 0)


def test_a_killed_attempt_is_gone_on_with(
    config: PredictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Attempt(tmp_path / "whole")
    run(config, whole)

    written = 0
    add = module.WorkLog.add

    def dies(self: Any, row: int, result: Any) -> None:
        nonlocal written
        add(self, row, result)
        written += 1
        if written == 5:
            raise SystemExit("killed")

    monkeypatch.setattr(module.WorkLog, "add", dies)
    first = Attempt(tmp_path / "job", 1)
    with pytest.raises(SystemExit):
        run(config, first)
    monkeypatch.undo()
    with (first.directory / WORK).open("a", encoding="utf-8") as torn:
        torn.write('{"row": 11, "result": {"gener')

    asked: list[int] = []

    def answering(model: Any, items: Any, *rest: Any, **more: Any) -> Any:
        left = list(items)
        asked.extend(number for number, _ in left)
        return real(model, left, *rest, **more)

    monkeypatch.setattr(module, "generate_all", answering)
    second = Attempt(tmp_path / "job", 2)
    run(config, second)
    assert len(asked) == 7
    assert results(second) == results(whole)


real = module.generate_all


def test_asked_to_save_it_leaves_and_goes_on(config: PredictConfig, tmp_path: Path) -> None:
    first = Attempt(tmp_path / "job", 1, "save", stop_after=2)
    with pytest.raises(Interrupted):
        run(config, first)
    shown = list(answered_rows(open_input(config.input).rows(), recorded_answers(config, [first.directory])))
    assert 2 <= len(shown) < 12
    second = Attempt(tmp_path / "job", 2)
    run(config, second)
    assert [row["n"] for row in results(second)] == list(range(12))


def test_asked_to_finish_it_keeps_what_is_there(config: PredictConfig, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "job", 1, "finish", stop_after=3)
    summary = run(config, attempt)
    assert 0 < summary["failed"] <= 9
    assert [row["n"] for row in results(attempt)] == list(range(12))


def test_answers_to_another_file_are_not_taken_up(config: PredictConfig, tmp_path: Path) -> None:
    run(config, Attempt(tmp_path / "job", 1))
    write_jsonl(Path(config.input), [{"instruction": "Something else."}])
    second = Attempt(tmp_path / "job", 2)
    assert run(config, second)["rows"] == 1
    assert results(second)[0]["instruction"] == "Something else."


def test_bad_rows_harm_no_other(config: PredictConfig) -> None:
    bad = [
        '{"instruction": "fine"}',
        "{no json",
        "[1, 2]",
        '{"instruction": 7}',
        '{"nope": "no known format"}',
        '{"messages": [{"role": "assistant", "content": "I first?"}]}',
        json.dumps({"instruction": "word " * 3000}),
        '{"messages": [{"role": "user", "content": "fine too"}], "error": "of old"}',
    ]
    Path(config.input).write_text("\n".join(bad) + "\n", encoding="utf-8")
    attempt = Attempt(Path(config.input).parent / "job")
    summary = run(config, attempt)
    answered = results(attempt)
    assert summary["failed"] == 6
    assert ["generate" in row for row in answered] == [True, *[False] * 6, True]
    assert "line 2" in answered[1]["error_2"]
    assert "512" in answered[6]["error_2"]
    assert all("error_2" in row for row in answered[1:7])
    assert (answered[7]["error"], "error_2" in answered[7]) == ("of old", False)


def test_a_json_array_is_read_too_and_an_empty_file_is_said(config: PredictConfig, tmp_path: Path) -> None:
    array = tmp_path / "in.json"
    array.write_text(json.dumps(ROWS[:3]), encoding="utf-8")
    attempt = Attempt(tmp_path / "job")
    run(config.model_copy(update={"input": str(array), "limit": 2}), attempt)
    assert [row["n"] for row in results(attempt)] == [0, 1]
    array.write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="no rows"):
        run(config.model_copy(update={"input": str(array)}), Attempt(tmp_path / "empty"))


def test_another_template_is_recorded(config: PredictConfig, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "job")
    run(config.model_copy(update={"template": "vicuna"}), attempt)
    template = verify_directory(attempt.output).manifest.template
    assert template is not None
    assert (template.name, template.overrides) == ("vicuna", "alpaca")


def test_answers_are_scored_against_a_column(config: PredictConfig, tmp_path: Path) -> None:
    rows = [{"instruction": "Say one.", "output": "1", "mine": "It is 3."}, {"instruction": "Say two.", "output": ""}]
    write_jsonl(Path(config.input), rows)
    own = Attempt(tmp_path / "own")
    summary = run(config, own)
    assert {name: each["n"] for name, each in summary["scores"].items()} == dict.fromkeys(
        ("exact", "numeric", "bleu", "chrf"), 1
    )
    assert ["scores" in row for row in results(own)] == [True, False]
    named = Attempt(tmp_path / "named")
    run(config.model_copy(update={"reference": "mine"}), named)
    metrics = verify_directory(named.output).manifest.metrics
    assert {name: round(each["mean"], 4) for name, each in metrics["scores"].items()} == results(named)[0]["scores"]
    with pytest.raises(DataError, match="'theirs'"):
        run(config.model_copy(update={"reference": "theirs"}), Attempt(tmp_path / "none"))


def test_several_models_answer_in_one_go(config: PredictConfig, adapter: Path, tmp_path: Path) -> None:
    with Path(config.input).open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    alone, tuned = Attempt(tmp_path / "alone"), Attempt(tmp_path / "tuned")
    run(config, alone)
    run(config.model_copy(update={"model": str(adapter)}), tuned)
    both = config.model_copy(update={"also": [str(adapter)]})
    first = Attempt(tmp_path / "both", 1, "save", stop_after=4)
    with pytest.raises(Interrupted):
        run(both, first)
    second = Attempt(tmp_path / "both", 2)
    summary = run(both, second)
    answered = results(second)
    for label, attempt in (("tiny", alone), ("adapter", tuned)):
        assert [row["generate"][label] for row in answered[:-1]] == [row["generate"] for row in results(attempt)[:-1]]
        assert summary["models"][label]["failed"] == 1
    assert isinstance(answered[-1]["error"], str)
    assert summary["failed"] == 1
    last = [event for event in second.events if event["kind"] == "progress"][-1]
    assert (last["done"], last["total"]) == (26, 26)
    manifest = verify_directory(second.output).manifest
    assert set(manifest.models) == {"tiny", "adapter"}
    assert manifest.models["tiny"].fingerprint == fingerprint(Path(config.model))
    with pytest.raises(UsageError, match="named twice"):
        run(config.model_copy(update={"also": [config.model]}), Attempt(tmp_path / "twice"))


def test_models_of_one_base_share_it_and_one_that_fails_harms_no_other(
    config: PredictConfig, base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another adapter, a broken one, and a model that falls over in the middle."""
    broken, fragile = tmp_path / "broken", tmp_path / "fragile"
    shutil.copytree(adapter, broken)
    (broken / "adapter_model.safetensors").write_bytes(b"no weights")
    shutil.copytree(base, fragile)
    loaded: list[str] = []
    load = TransformersEngine.__init__

    def loading(self: Any, model: Any, slots: int, base: Path) -> None:
        loaded.append(base.name)
        load(self, model, slots, base)

    def answering(model: Any, *rest: Any, **more: Any) -> Any:
        for count, each in enumerate(real(model, *rest, **more)):
            if model.resolved.name == str(fragile) and count == 40:
                raise RuntimeError("the device fell over")
            yield each

    monkeypatch.setattr(TransformersEngine, "__init__", loading)
    monkeypatch.setattr(module, "generate_all", answering)
    alone, attempt = Attempt(tmp_path / "alone"), Attempt(tmp_path / "several")
    run(config.model_copy(update={"model": str(adapter)}), alone)
    loaded.clear()
    summary = run(config.model_copy(update={"also": [str(fragile), str(adapter)]}), attempt)
    assert loaded == ["tiny", "fragile"]
    answered = results(attempt)
    assert [row["generate"]["adapter"] for row in answered] == [row["generate"] for row in results(alone)]
    assert {label: each["failed"] for label, each in summary["models"].items()} == {
        "tiny": 0, "adapter": 0, "fragile": summary["failed"],
    }  # fmt: skip
    assert summary["failed"] > 0
    assert all(
        ("fragile" in row["generate"]) != (row.get("error") == {"fragile": "RuntimeError: the device fell over"})
        for row in answered
    )
    loaded.clear()
    with_broken = Attempt(tmp_path / "broken-too")
    summary = run(config.model_copy(update={"also": [str(broken), str(adapter)], "limit": 2}), with_broken)
    assert loaded == ["tiny"]
    assert {label: each["failed"] for label, each in summary["models"].items()} == {
        "tiny": 0,
        "broken": 2,
        "adapter": 0,
    }
    with pytest.raises(ArtefactError, match="no safetensors file"):
        run(config.model_copy(update={"model": str(broken)}), Attempt(tmp_path / "only"))


def test_columns_of_the_input_are_kept_whatever_they_are_called(config: PredictConfig, tmp_path: Path) -> None:
    rows = [
        {"instruction": "Say 1.", "output": "1", "error": "E0382", "scores": "3.5", "generate": "cuda", "generate_2": 0}
    ]
    rows = [*rows, {"nope": 1, "error": "E0499"}, {"instruction": "Say 2.", "output": "2"}]
    source = str(write_jsonl(tmp_path / "taken.jsonl", rows))
    attempt = Attempt(tmp_path / "job")
    summary = run(config.model_copy(update={"input": source}), attempt)
    answered = results(attempt)
    assert [{key: row[key] for key in given} for given, row in zip(rows, answered, strict=True)] == rows
    assert summary["columns"] == {"generate": "generate_3", "error": "error_2", "scores": "scores_2"}
    assert [sorted(set(row) - set(given)) for given, row in zip(rows, answered, strict=True)] == [
        ["generate_3", "scores_2"], ["error_2"], ["generate_3", "scores_2"]
    ]  # fmt: skip
    assert any("'generate' is written as 'generate_3'" in str(event.get("text")) for event in attempt.events)


def test_out_is_written_by_whoever_finishes_the_job(config: PredictConfig, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    config = config.model_copy(update={"out": str(out)})
    with pytest.raises(Interrupted):
        run(config, Attempt(tmp_path / "job", 1, "save", stop_after=2))
    assert not out.exists()
    out.parent.write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written.*retry"):
        run(config, Attempt(tmp_path / "job", 2))
    out.parent.unlink()
    last = Attempt(tmp_path / "job", 3)
    run(config, last)
    assert out.read_bytes() == (last.output / PREDICTIONS).read_bytes()


@pytest.mark.parametrize("beginning", ["prefill", "row"])
def test_answers_are_continued_as_one_that_was_cut_off(
    config: PredictConfig, tmp_path: Path, tiny: LoadedModel, beginning: str
) -> None:
    """`generate` is the whole answer, and a preview shows the prompt with its beginning."""
    rows = [{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because"}]}]
    source = str(write_jsonl(tmp_path / "begun.jsonl", rows))
    begun = {"prefill": "Because"} if beginning == "prefill" else {"continue_answers": True}
    config = config.model_copy(update={"input": source, "dtype": "float32", **begun})
    run(config, attempt := Attempt(tmp_path / "job"))
    messages = [Message("user", "Why?"), Message("assistant", "Because")]
    ids, known = continuation_ids(tiny, messages, ())
    with generate(tiny, [ids], config.sampling, prefix_ids=[known]) as answers:
        expected = [delta.answer for delta in answers][-1]
    (row,) = results(attempt)
    assert row["generate"] == expected
    assert expected.startswith("Because")
    assert ("scores" in row) == (beginning == "prefill")  # there the row's own answer is the gold answer
    (shown,) = preview_prompts(input_of(config), tiny.encoder, 1)
    assert shown.prompt == prompt_text(tiny.encoder, tiny.encoder.given_ids(messages))
