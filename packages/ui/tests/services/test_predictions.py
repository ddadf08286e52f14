"""Batch prediction: previews, refusals, rows as they come."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tracemalloc
import warnings

import pytest
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.testing import write_jsonl
from camelid_serve.commands.common_options import configure
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_serve.presets import SUFFIXES
from camelid_ui.field_values import InvalidFields
from camelid_ui.services.prediction_rows import PublishedRows
from camelid_ui.services.prediction_table import PAGE_ROWS, answers_of

NO_NAMES = ("/x" * 2500, "/" + "x" * 300, "~nobody-of-that-name/x.jsonl", "/a\0b.jsonl", "/\ud800")


def test_the_first_rows_as_the_model_will_see_them(services, questions):
    found = services.predictions.preview(str(questions), "tiny", "chatml")
    assert (found.rows, found.faulty, len(found.prompts)) == (5, 0, 3)
    text = "".join(piece.text for piece in found.prompts[0].spans)
    assert "What is 1 + 1?" in text
    assert text.endswith("<|im_start|>assistant\n")


def test_a_faulty_row_is_a_fault_of_that_row(services, tmp_path):
    rows = write_jsonl(tmp_path / "q.jsonl", [{"instruction": "a"}, {"nope": 1}, {"instruction": "b"}])
    found = services.predictions.preview(str(rows), "tiny")
    assert (found.rows, found.faulty) == (3, 1)
    assert isinstance(found.prompts[1], str)


def test_files_that_cannot_be_used_are_sentences(services, tmp_path):
    with pytest.raises(UsageError, match="Choose a file"):
        services.predictions.preview("", "tiny")
    with pytest.raises(UsageError, match="no file"):
        services.predictions.preview("/nowhere.jsonl", "tiny")
    for name in NO_NAMES:
        with pytest.raises(UsageError, match="cannot be used"):
            services.predictions.preview(f" {name} ", "tiny")
        with pytest.raises(UsageError, match="cannot be used"):
            services.data.add.find(f" {name} ")
        with pytest.raises(UsageError, match="cannot be used"):
            services.models.resolve(name)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="no rows"):
        services.predictions.preview(str(tmp_path / "empty.jsonl"), "tiny")


def test_other_columns_are_mapped(services, tmp_path):
    path = str(
        write_jsonl(tmp_path / "odd.jsonl", [{"Frage": "Why?", "right": "So."}, {"Frage": "How?", "right": "So."}])
    )
    found = services.predictions.preview(path, "tiny")
    assert "no row can be answered" in found.problem
    assert found.columns == ["Frage", "right"]
    found = services.predictions.preview(path, "tiny", columns="instruction=Frage", reference="right")
    assert (found.problem, found.rows, found.referenced) == ("", 2, 2)
    assert "Why?" in "".join(piece.text for piece in found.prompts[0].spans)


def test_an_upload_is_kept_whole_or_not_at_all(services, tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: forking with threads, none of them ours
        pid = os.fork()
    if pid == 0:
        sys.addaudithook(lambda event, _: event == "shutil.copyfile" and os.kill(os.getpid(), signal.SIGKILL))
        services.predictions.keep_upload(str(tmp_path / "rows.jsonl"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    (half,) = (services.home / "uploads").iterdir()
    kept = services.predictions.keep_upload(str(tmp_path / "rows.jsonl"))
    assert list((services.home / "uploads").iterdir()) == [kept.parent] != [half]


def test_an_upload_is_kept_under_a_safe_name(services, tmp_path):
    upload = tmp_path / "my rows; rm -rf.JSONL"
    upload.write_text("{}")
    kept = services.predictions.keep_upload(str(upload))
    assert kept.name == "my-rows-rm-rf.jsonl"
    assert kept.is_relative_to(services.home / "uploads")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "tinny"),
        ("input", "/nowhere.jsonl"),
        ("columns", "instuction=x"),
        ("also", ["tiny"]),
        ("template", "alpacca"),
        ("engine", "transformer"),
        ("engine", "transformers url=http://127.0.0.1:1"),
    ],
)
def test_what_would_fail_is_refused_at_its_field(services, questions, field, value):
    given = {"model": "tiny", "input": str(questions)} | {field: value}
    with pytest.raises(InvalidFields) as caught:
        services.predictions.start(PredictConfig(**given))
    assert list(caught.value.errors) == [field]


def test_answers_so_far_are_there_to_download(services, questions):
    from camelid_core.jobs.run_directories import attempt_directory
    from camelid_serve.predict.task import WORK
    from camelid_serve.predict.work_log import WorkLog

    job = services.predictions.start(PredictConfig(model="tiny", input=str(questions)))
    hidden_box = services.jobs.store.claim("w", 30.0, only=job.id)
    directory = attempt_directory(services.home, job.id, hidden_box.epoch)
    directory.mkdir(parents=True)
    assert services.predictions.page(job.id).count == 0
    with WorkLog(WORK, "same", directory) as work:
        work.add(2, {"generate": "four", "scores": {"exact": 0.0}})
        assert services.predictions.page(job.id).count == 1
        work.add(1, {"error": "too long"})
        work.add(5, {"generate": "ten", "scores": {"exact": 1.0}})
        found = services.predictions.page(job.id)
        assert (found.count, found.failed, found.finished, found.matching) == (3, 1, False, 3)
        assert str(found.means[""]["exact"]) == "50.0 % ± 40.5 (n 2)"
        assert [(number, row["instruction"]) for number, row in services.predictions.page(job.id, "worst").rows] == [
            (2, "What is 2 + 2?"),
            (5, "What is 5 + 5?"),
        ]
        assert [number for number, _ in services.predictions.page(job.id, "failed").rows] == [1]
    lines = [json.loads(line) for line in b"".join(services.predictions.lines(job.id)).splitlines()]
    assert [line.get("generate") for line in lines] == [None, "four", "ten"]


def test_columns_of_the_input_are_no_answers(tmp_path):
    rows = [
        {"error": "E0382", "generate": "cuda", "generate_2": "an answer"},
        {"error": "E0499", "error_2": "too long"},
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "camelid.json").write_text(
        json.dumps({"kind": "predictions", "metrics": {"columns": {"generate": "generate_2", "error": "error_2"}}})
    )
    found = PublishedRows(path)
    assert (found.table.count, found.table.failed) == (2, 1)
    answers = [list(answers_of(row, found.columns)) for _, row in found.rows("all", 0)]
    assert answers == [[("", "an answer", False)], [("", "too long", True)]]


def test_the_worst_come_first(tmp_path):
    rows = [{"generate": "x", "scores": {"exact": float(n % 2), "chrf": n / 10}} for n in range(6)]
    found = PublishedRows(write_jsonl(tmp_path / "one.jsonl", [*rows, {"error": "too long"}]))
    assert [number for number, _ in found.rows("worst", 0)] == [1, 3, 5, 2, 4, 6]
    means = found.table.means[""]
    assert {name: (each.mean, each.n) for name, each in means.items()} == {"exact": (0.5, 6), "chrf": (0.25, 6)}
    several = [
        {"generate": {"a": "x", "b": "y"}, "scores": {"a": {"exact": 1.0}, "b": {"exact": float(n)}}} for n in (1, 0)
    ]
    found = PublishedRows(write_jsonl(tmp_path / "several.jsonl", several))
    assert [number for number, _ in found.rows("worst", 0)] == [2, 1]
    assert str(found.table.differences["b"]["exact"]).startswith("-50.0 ± ")


def test_pages_show_each_row_once_and_none_is_held(tmp_path):
    count = 5 * PAGE_ROWS + 7
    rows = [
        {"error": "x" * 2000} if n % 3 else {"generate": "y" * 2000, "scores": {"exact": n % 2}} for n in range(count)
    ]
    tracemalloc.start()
    found = PublishedRows(write_jsonl(tmp_path / "rows.jsonl", rows))
    hidden_box, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert hidden_box < 200 * count
    for selection, wanted in (("all", count), ("failed", count * 2 // 3), ("worst", -(-count // 3))):
        pages = [found.rows(selection, start) for start in range(0, count, PAGE_ROWS)]
        numbers = [number for page in pages for number, _ in page]
        assert len(numbers) == len(set(numbers)) == found.table.matching(selection) == wanted
        assert all(rows[number - 1] == row for page in pages for number, row in page)
        assert max(map(len, pages)) == PAGE_ROWS


def test_a_damaged_result_is_a_sentence(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"generate": "x"}\nno row\n')
    with pytest.raises(DataError, match="not as it was written"):
        PublishedRows(tmp_path / "rows.jsonl")


def test_the_command_line_shown_means_the_same_settings(services):
    """What a person copies from the page, typed, makes the configuration that the page has."""
    config = PredictConfig(
        model="my model",
        input="/data/rows.jsonl",
        base=True,
        batch_size=4,
        columns="instruction=q",
        reference="a b",
        also=["b", "c d"],
        sampling=Sampling(top_p=0.9, stop=("x",)),
    )
    _, _, model, path, *overrides = shlex.split(services.predictions.command(config))
    assert configure(PredictConfig, {"model": model, "input": path}, {}, overrides) == config


def test_the_preview_has_the_suffixes_and_names_what_takes_no_part(services, tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [{"instruction": "Add 2.", "output": "4", "seen": "twice"}])
    found = services.predictions.preview(str(path), "tiny", suffixes=["step-by-step"])
    assert SUFFIXES["step-by-step"].text in "".join(piece.text for piece in found.prompts[0].spans)
    assert found.notes == ["Columns that are not used: 'seen' in 1 row."]
    with pytest.raises(UnknownName, match="suffix"):
        services.predictions.preview(str(path), "tiny", suffixes=["nowhere"])
    with pytest.raises(InvalidFields) as caught:
        services.predictions.start(PredictConfig(model="tiny", input=str(path), suffixes=["nowhere"]))
    assert "suffixes" in caught.value.errors
