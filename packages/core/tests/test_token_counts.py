"""Token counts: the task `measure`, run as a worker runs it."""

from __future__ import annotations

import json

import pytest
from camelid_core.config import validate
from camelid_core.errors import UnknownName
from camelid_core.events import read_events
from camelid_core.jobs.attempt import AttemptContext
from camelid_core.jobs.run_directories import EVENTS
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted
from camelid_core.testing import tiny_tokenizer, write_jsonl
from camelid_core.token_cache import TokenCache


@pytest.fixture
def model(tmp_path):
    """Enough of a model to tokenise with."""
    directory = tmp_path / "model"
    tiny_tokenizer().save_pretrained(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return directory


@pytest.fixture
def context(home, tmp_path):
    directory = tmp_path / "attempt"
    directory.mkdir()
    context = AttemptContext(directory)
    yield context
    context.close()


@pytest.fixture
def data(tmp_path):
    rows = [{"instruction": f"q{number}", "output": "y " * number} for number in range(30)]
    return write_jsonl(tmp_path / "rows.jsonl", rows)


def run(context, **values):
    task = load_host().tasks["measure"]
    return task.load_run()(validate(task.load_config(), values, "the test").with_absolute_paths(), context)


def test_a_job_counts_every_row(context, model, data):
    summary = run(context, data=str(data), model=str(model), template="chatml", cutoff=30)
    assert (summary["rows"], summary["template"], summary["cutoff"]) == (30, "chatml", 30)
    assert summary["kept"] + summary["dropped"] == 30
    assert 0 < summary["truncated"] < 30
    events = [event for event in read_events(context.directory / EVENTS)[0] if event["kind"] == "progress"]
    assert (events[-1]["done"], events[-1]["unit"]) == (30, "rows")
    assert sum(entry.rows for entry in TokenCache().entries()) == 30, "a run on the same rows finds them tokenised"


def test_a_limit_is_a_limit(context, model, data):
    assert run(context, data=str(data), model=str(model), template="chatml", limit=7)["rows"] == 7


def test_asked_to_leave_it_leaves(context, model, data):
    context.request_stop("save")
    with pytest.raises(Interrupted):
        run(context, data=str(data), model=str(model), template="chatml")


def test_what_is_not_there_is_said(context, model, data):
    with pytest.raises(UnknownName, match=r"dataset 'cot-arithmetik' is not known\. Did you mean"):
        run(context, data="cot-arithmetik", model=str(model), template="chatml")
