"""Training: estimates that hold, refusals that name the field, runs found, compared and deleted."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from camelid_core.errors import JobError
from camelid_core.events import EventLog
from camelid_core.jobs import JobState
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_train.config import Recipe
from camelid_train.monitoring.heldout_rows import FILE
from camelid_ui.field_values import InvalidFields, flat, values_of
from camelid_ui.services.training.run_comparison import differences, job_ids_in, loss_differences


def recipe(*overrides):
    return Recipe().with_overrides(["model.name=tiny", *overrides])


def test_the_estimate_counts_rows_steps_and_tokens(services):
    found = services.training.estimate(recipe("train.batch_size=8", "train.epochs=2"), services.data)
    assert (found.rows, found.steps) == (4000, 1000)
    lengths = services.data.lengths.sample("cot-arithmetic-en", "tiny")
    assert found.tokens == pytest.approx(8000 * lengths.tokens.mean(), rel=0.01)
    assert 0 < found.trained_tokens < found.tokens
    assert found.fits
    assert found.seconds == 0


def test_the_estimate_heeds_limits(services):
    found = services.training.estimate(recipe("train.max_steps=10", "data.rows=100", "data.cutoff=64"), services.data)
    cut = services.data.lengths.sample("cot-arithmetic-en", "tiny").at(64)
    assert (found.rows, found.steps, found.tokens) == (100, 10, int(40 * cut.tokens / cut.rows))
    assert found.truncated == 1.0
    assert found.dropped == cut.dropped / cut.rows


def test_answers_of_a_group_are_rows_of_a_step(services):
    found = services.training.estimate(
        recipe("objective.type=grpo", "objective.group=4", "train.batch_size=8"), services.data
    )
    assert (found.rows, found.steps) == (4000, 2000)


def test_an_estimate_says_that_a_run_would_refuse_to_start(services):
    assert services.training.estimate(recipe("data.cutoff=16"), services.data).dropped == 1.0


@pytest.mark.parametrize(
    ("overrides", "rows"),
    [
        (["data.sources=['cot-arithmetic-en:0.5', 'cot-arithmetic-zh']"], 6000),
        (["data.sources=['cot-arithmetic-en:0.5+cot-arithmetic-zh']"], 6000),
        (["data.sources=['cot-arithmetic-en', 'cot-arithmetic-zh']", "data.caps={cot-arithmetic-en=100}"], 4100),
    ],
)
def test_the_mixture_decides_how_many_rows(services, overrides, rows):
    assert services.training.estimate(recipe(*overrides), services.data).rows == rows


def test_a_file_outside_the_collection_is_estimated_too(services, questions):
    found = services.training.estimate(recipe(f"data.sources=['{questions}']", "data.eval_rows=0"), services.data)
    assert found.rows == 5


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("model.name=tinny", "model.name"),
        ("model.name=smollm2-135m", "model.name"),
        ("model.name=small", "model.name"),
        ("data.sources=['cot-arithmetik']", "data.sources"),
        ("data.template=alpacca", "data.template"),
    ],
)
def test_what_would_fail_is_refused_at_its_field(services, home, override, path):
    (home / "models" / "small").mkdir()
    (home / "models" / "small" / "q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(InvalidFields) as caught:
        services.training.start(recipe(override))
    assert list(caught.value.errors) == [path]
    assert services.jobs.all() == []


def test_an_adapter_is_no_base_model(services, adapter):
    with pytest.raises(InvalidFields, match="merge it first"):
        services.training.start(recipe(f"model.name={adapter}"))


def test_a_run_is_a_job_with_its_settings(services):
    job = services.training.start(recipe("train.max_steps=3"), "mine")
    run = services.training.show(job.id)
    assert (run.model, run.data, run.loss_summary.loss, run.artefact) == ("tiny", "cot-arithmetic-en", None, "")
    assert services.training.recipe_of(job.id).train.max_steps == 3
    assert [each.job.name for each in services.training.all()] == ["mine"]


def begin(services, job, *events):
    """What a worker does first, and the events of the attempt."""
    hidden_box = services.jobs.store.start(services.jobs.store.claim("w", 30.0, only=job.id))
    directory = attempt_directory(services.home, hidden_box.id, hidden_box.epoch)
    directory.mkdir(parents=True)
    log = EventLog(directory / EVENTS)
    for kind, values in events:
        log.emit(kind, **values)
    log.close()
    return hidden_box


def losses(*steps):
    return [("train", {"step": step, "loss": 1.0 / step}) for step in steps]


@pytest.mark.parametrize(
    ("override", "lighter"),
    [("method.type=qlora", True), ("method.type=full", False)],
)
def test_memory_depends_on_the_method(services, override, lighter):
    plain = services.training.estimate(recipe("model.dtype=float32"), services.data).memory
    other = services.training.estimate(recipe("model.dtype=float32", override), services.data).memory
    assert (other < plain) is lighter


def test_the_time_is_that_of_the_same_method_where_there_is_one(services):
    for method, speed in (("lora", 100.0), ("full", 10.0)):
        job = services.training.start(recipe(f"method.type={method}"))
        services.jobs.store.finish(begin(services, job), JobState.SUCCEEDED, summary={"tokens_per_second": speed})
    estimates = [
        services.training.estimate(recipe(f"method.type={method}"), services.data) for method in ("lora", "full", "ia3")
    ]
    assert [round(found.tokens / found.seconds) for found in estimates] == [100, 10, 10]


def test_a_report_grows_with_the_events(services):
    job = services.training.start(recipe())
    begin(services, job, *losses(1, 2), ("eval", {"step": 2, "loss": 3.0}))
    assert services.training.show(job.id).report.curves.loss[-1].step == 2
    path = attempt_directory(services.home, job.id, 1) / EVENTS
    with path.open("a") as file:
        file.write(json.dumps({"kind": "train", "step": 3, "loss": 9.0}) + "\n" + '{"kind": "tra')
    assert [point.value for point in services.training.show(job.id).report.curves.loss] == [1.0, 0.5, 9.0]
    assert services.training.show(job.id).loss_summary.loss == 3.0


def test_attempts_read_as_one_run(services):
    job = services.training.start(recipe())
    services.jobs.store.release(begin(services, job, *losses(1, 2, 4)))
    begin(services, job, ("train", {"step": 4, "loss": 7.0}), *losses(5))
    assert [(point.step, point.value) for point in services.training.show(job.id).report.curves.loss] == [
        (1, 1.0), (2, 0.5), (4, 7.0), (5, 0.2),
    ]  # fmt: skip


def test_runs_are_found_by_words_and_state(services):
    one = services.training.start(recipe("method.type=full"), "one")
    services.training.start(recipe(), "two")
    events = [*losses(1), ("eval", {"step": 1, "loss": 2.0}), ("eval", {"step": 2, "loss": 3.0})]
    services.jobs.store.finish(begin(services, one, *events), JobState.FAILED, error="no")
    names = lambda *asked: [run.job.name for run in services.training.all(*asked)]  # noqa: E731
    assert names() == ["two", "one"]
    assert names("FULL tiny") == ["one"]
    assert names("", "failed") == ["one"]
    assert names("", "running") == ["two"]
    assert names("nothing") == []
    found = services.training.all("one")[0]
    assert (found.loss_summary.loss, found.loss_summary.best, found.method) == (3.0, 2.0, "full")


def test_runs_are_compared_by_what_differs(services):
    first = services.training.start(recipe("train.seed=1"))
    second = services.training.start(recipe("method.type=ia3"))
    found = services.training.compare([second.id, 99, first.id])
    assert [run.job.id for run in found.runs] == [second.id, first.id]
    assert found.missing == (99,)
    assert found.settings["method.type"] == ("ia3", "lora")
    assert found.settings["train.seed"] == (0, 1)
    assert found.settings["method.r"] == (None, 8)
    assert "train.epochs" not in found.settings


def test_same_settings_differ_in_nothing():
    assert differences([{"a": {"b": [1], "c": {}}}, {"a": {"b": [1], "c": {}}}]) == {}
    assert differences([{"a": {"b": 1}}, {"a": 2}]) == {"a.b": (1, None), "a": (None, 2)}


def test_what_is_compared_is_a_list_of_numbers():
    assert job_ids_in("12, 9,x,12,") == [12, 9]
    assert job_ids_in("1,2,3,4,5,6,7,8,9") == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_that_ended_is_deleted_and_no_other(services):
    job = services.training.start(recipe())
    with pytest.raises(JobError, match="only jobs that have ended"):
        services.training.delete(job.id)
    services.jobs.cancel(job.id)
    services.training.delete(job.id)
    assert services.training.all() == []


def test_a_result_that_the_chat_has_loaded_stays(services, adapter):
    job = services.training.start(recipe())
    hidden_box = services.jobs.store.start(services.jobs.store.claim("w", 30.0, only=job.id))
    services.jobs.store.publish(hidden_box, lambda: services.home / "artefacts" / adapter, {})
    services.training.resident = lambda: ("tiny", adapter)
    with pytest.raises(JobError, match=r"'tuned' is loaded in the chat.*Nothing was deleted"):
        services.training.delete(job.id, result=True)
    services.training.resident = tuple
    services.training.delete(job.id, result=True)
    assert not (services.home / "artefacts" / adapter).exists()


def test_a_runs_settings_fill_the_form_whatever_its_method(services):
    job = services.training.start(recipe("method.type=ia3", "method.targets=['v_proj']"))
    again = services.training.recipe_of(job.id)
    shown = values_of(again)
    assert (shown["method.targets@ia3"], shown["method.targets"]) == (["v_proj"], [])
    assert flat(again)["method.targets"] == ["v_proj"]


def test_the_selection_is_shown_in_short(services):
    training, chosen = services.training, recipe("method.type=full", "method.shard=1GB")
    model = training.model_choice(chosen)
    assert (model.name, model.family) == ("tiny", "llama")
    assert model.parameters > 100_000
    assert [(each.source.name, each.entry.rows) for each in training.data_choices(chosen, services.data)] == [
        ("cot-arithmetic-en", 4000)
    ]
    way = training.section_choices(chosen)[0]
    assert (way.name, way.settings) == ("full", {"shard": "1GB"})
    assert "weight learns" in way.help
    gone = recipe("model.name=gone", "data.sources=['gone']")
    assert training.model_choice(gone).parameters == 0
    assert training.data_choices(gone, services.data)[0].entry is None


def test_runs_are_compared_on_the_held_out_rows_that_both_have(tmp_path):
    runs = []
    for name, more in (("one", 0.0), ("two", 5.0), ("bare", None)):
        (tmp_path / name).mkdir()
        if more is not None:
            lines = [{"row": str(n), "loss": 7.0 * n + more + n % 2, "tokens": 10} for n in range(12)]
            (tmp_path / name / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
        runs.append(SimpleNamespace(job=SimpleNamespace(published=str(tmp_path / name))))
    first, second, bare = loss_differences(runs)
    assert (first, bare) == (None, None)
    assert (round(second.mean, 6), second.clusters, second.n) == (0.5, 12, 120)
