"""The archive of a run: what another person needs to run it again, the same bytes each time, and nothing private."""

from __future__ import annotations

import json
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from camelid_core.commands import jobs
from camelid_core.errors import CamelidError, JobError
from camelid_core.events import EventLog
from camelid_core.integrity import sha256
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_train.config import Recipe
from camelid_train.provenance import reproduce
from camelid_train.provenance.origin import installed
from camelid_train.provenance.reproduce import bundle
from camelid_train.run import train
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner


@pytest.fixture
def submitted(home, attempt):
    """A job with a recipe, and an attempt at it."""

    def submit(recipe: Recipe, name: str = "", epoch: int = 1, task: str = "train"):
        job = open_store().submit(task, recipe.model_dump(mode="json"), name)
        return job, attempt(epoch, job=job.id)

    return submit


def read(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_it_says_what_a_run_was_made_from_and_running_that_ends_with_the_same_weights(
    submitted, recipe, tmp_path, attempt
):
    config = recipe("train.max_steps=1", f"train.output={tmp_path / 'there'}")
    job, run = submitted(config, "sums")
    summary = train(config, run)
    store = open_store()
    store.publish(store.start(store.claim("a worker", 30.0)), lambda: run.output, summary)
    path = bundle(open_store(), job.id, tmp_path)
    assert path == tmp_path / "sums.zip"
    texts = read(path)
    assert list(texts) == ["README.md", "recipe.toml", "requirements.txt", "origin.json", "result.json", "events.jsonl"]
    again = Recipe.model_validate(tomllib.loads(texts["recipe.toml"]))
    assert again == config.with_overrides(['train.output=""'])
    origin = json.loads(texts["origin.json"])
    assert origin["base"]["fingerprint"] == run.manifest["base"]["fingerprint"]
    assert origin["template"]["sha256"] == run.manifest["template"]["sha256"]
    assert origin["datasets"] == run.manifest["datasets"]
    assert origin["dtype"] == "float32"
    assert {"python", "system", "processor", "threads"} <= set(origin["machine"])
    assert f"torch=={version('torch')}\n" in texts["requirements.txt"]
    for told in (origin["base"]["fingerprint"], origin["datasets"][0]["sha256"], "camelid train recipe.toml"):
        assert told in texts["README.md"]
    assert {"data", "origin", "eval"} <= {json.loads(line)["kind"] for line in texts["events.jsonl"].splitlines()}
    second = attempt(job=99)
    train(again, second)
    weights = sha256(second.output / "adapter_model.safetensors")
    assert f"- SHA-256 of adapter_model.safetensors: {weights}\n" in texts["README.md"]
    assert f"- eval_loss: {summary['eval_loss']}\n" in texts["README.md"]


def test_the_same_run_gives_the_same_bytes(submitted, recipe, tmp_path):
    job, run = submitted(recipe())
    run.emit("origin", base={"id": "b", "fingerprint": "f"}, packages={"torch": "1"}, machine={"python": "3"})
    paths = [bundle(open_store(), job.id, tmp_path / name) for name in ("one.zip", "two.zip")]
    assert sha256(paths[0]) == sha256(paths[1])
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl" and path.is_file()) == [
        "one.zip",
        "two.zip",
    ]


def test_all_attempts_speak_the_oldest_first_and_the_newest_origin_holds(submitted, recipe, tmp_path, home):
    job, first = submitted(recipe())
    directory = attempt_directory(home, job.id, 2)
    directory.mkdir()
    second = EventLog(directory / EVENTS)
    for log, number in ((first, 1), (second, 2)):
        log.emit("origin", dtype=f"float{number}")
        log.emit("train", step=number)
    second.close()
    texts = read(bundle(open_store(), job.id, tmp_path / "x.zip"))
    assert [json.loads(line).get("step") for line in texts["events.jsonl"].splitlines()] == [None, 1, None, 2]
    assert "camelid train recipe.toml model.dtype=float2" in texts["recipe.toml"]


def test_a_run_that_ended_before_it_had_its_data_says_what_it_can(submitted, recipe, tmp_path):
    job, _ = submitted(recipe())
    texts = read(bundle(open_store(), job.id, tmp_path / "x.zip"))
    assert "Not known: the run ended before it had its data." in texts["README.md"]
    assert json.loads(texts["result.json"]) == {"state": "queued", "error": "", "summary": {}, "files": {}}
    assert Recipe.model_validate(tomllib.loads(texts["recipe.toml"])) == recipe()


def test_the_users_home_is_not_in_it_and_the_recipe_still_finds_its_files(submitted, tmp_path, monkeypatch):
    person = tmp_path / "ada"
    (person / "rows").mkdir(parents=True)
    (person / "rows" / "a.jsonl").write_text("{}")
    monkeypatch.setenv("HOME", str(person))
    recipe = Recipe.model_validate(
        {"model": {"name": str(person / "model")}, "data": {"sources": [f"{person}/rows/a.jsonl:0.5"]}}
    )
    job, run = submitted(recipe)
    run.emit("log", text=f"wrote {person}/x, not {person}-2/x, and '{person}'")
    run.emit("origin", base={"id": f"{person}/model", "fingerprint": "f"}, datasets=[])
    texts = read(bundle(open_store(), job.id, tmp_path / "x.zip"))
    assert f"wrote ~/x, not {person}-2/x, and '~'" in texts["events.jsonl"]
    assert not [name for name, text in texts.items() if f"{person}/" in text]
    again = Recipe.model_validate(tomllib.loads(texts["recipe.toml"])).with_absolute_paths()
    assert again == recipe


@given(st.text(), st.text(), st.sampled_from(["", "/", "/a", '"', " "]), st.sampled_from([" ", '"', "\\n", "file://"]))
def test_home_goes_and_nothing_else_does(before, after, end, border):
    home = Path("~").expanduser()
    text = reproduce._without_home(f"{before}{border}{home}{end}{after}")
    assert f"{home}/" not in text
    assert reproduce._without_home(before.replace(str(home), "")) == before.replace(str(home), "")
    assert reproduce._without_home(f"{home}x{after}").startswith(f"{home}x")
    assert reproduce._without_home(f"/mnt{home}{end}{after}").startswith(f"/mnt{home}")
    assert reproduce._without_home(f"{home}{home}{end}").startswith(f"~{home}")


def test_only_training_runs_have_one(submitted, recipe, tmp_path):
    job, _ = submitted(recipe(), task="merge")
    with pytest.raises(JobError, match=r"is a merge job; only training runs can be bundled"):
        bundle(open_store(), job.id, tmp_path)
    with pytest.raises(JobError, match="There is no job 99"):
        bundle(open_store(), 99, tmp_path)


def test_versions_are_those_installed_of_all_that_ours_need():
    found = installed(["camelid-train"])
    assert {"camelid-train", "camelid-core", "torch", "transformers", "peft", "pydantic", "numpy"} <= set(found)
    assert all(version(name) == number for name, number in found.items())
    assert installed(["no-such-distribution"]) == {}
    assert installed([]) == {}


def run_command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(jobs.app, arguments)
    error = done.exception if isinstance(done.exception, CamelidError) else None
    return (error.exit_code if error else done.exit_code), done.output + str(error or "")


def test_the_command_overwrites_nothing_and_says_what_it_cannot_do(submitted, recipe, tmp_path):
    job, _ = submitted(recipe(), "x")
    assert run_command("bundle", str(job.id)) == (0, "x.zip\n")
    assert read(Path("x.zip"))["recipe.toml"]
    code, said = run_command("bundle", str(job.id))
    assert (code, "'x.zip' exists already; nothing was overwritten" in said) == (2, True)
    code, said = run_command("bundle", str(job.id), "--out", str(tmp_path / "no" / "x.zip"))
    assert (code, "is no directory" in said) == (2, True)
    other, _ = submitted(recipe(), task="merge")
    code, said = run_command("bundle", str(other.id))
    assert (code, f"Job {other.id} is a merge job; only training runs can be bundled" in said) == (2, True)
