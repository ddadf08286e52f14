"""What a job reads is declared, found on this machine, and has the same names in a home elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
from camelid_core import references as module
from camelid_core.config import Config
from camelid_core.datasets import library
from camelid_core.errors import JobError, ModelError, UnknownName
from camelid_core.jobs.job import Job
from camelid_core.machines.file_hashes import FileHashes
from camelid_core.machines.job_home import JobHome, sweep
from camelid_core.machines.job_inputs import job_inputs, why_not_portable
from camelid_core.machines.path_translation import PathTranslation
from camelid_core.machines.protocol import JobInputs
from camelid_core.plugins import load_host
from camelid_core.records import Message, Record
from camelid_core.references import DataNames, FileName, ModelName, OfThisMachine, references
from camelid_core.tasks import Task
from camelid_core.testing import tiny_model
from hypothesis import given
from hypothesis import strategies as st


class Inner(Config):
    text: FileName = ""
    """A file."""


class Reading(Config):
    model: ModelName = "m"
    """A model."""
    data: DataNames = []
    """Data."""
    inner: Inner = Inner()
    nodes: Annotated[int, OfThisMachine] = 1
    """Machines."""
    plain: str = "/etc/passwd"
    """Nothing."""


def job(**config):
    return Job(id=7, task="read", config=config, epoch=1)


@pytest.fixture
def host():
    loaded = load_host()
    task = Task("read", "Read.", f"{__name__}:Reading", "x:y", portable=True)
    monkeyed = SimpleNamespace(load_config=lambda: Reading, portable=True, output="output", name=task.name)
    return SimpleNamespace(
        tasks={"read": monkeyed}, datasets=loaded.datasets, adapters=loaded.adapters, converters=loaded.converters
    )


def test_references_are_those_that_are_declared():
    config = Reading(data=["a", "b:0.5"], inner=Inner(text="t"), nodes=2)
    assert list(references(config)) == [
        ("model", "m"),
        ("data", "a"),
        ("data", "b:0.5"),
        ("file", "t"),
        ("here", "nodes"),
    ]
    assert list(references(Reading(model=""))) == []


def all_texts(cls: type[Config], prefix: str = "") -> set[str]:
    """The fields that hold texts, also in sections."""
    found: set[str] = set()
    for name, field in cls.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Config):
            found |= all_texts(type(default), f"{prefix}{name}.")
        elif field.annotation in (str, list[str]):
            found.add(f"{prefix}{name}")
    return found


def declared(cls: type[Config], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in cls.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Config):
            found |= declared(type(default), f"{prefix}{name}.")
        elif any(isinstance(each, module.Reference) for each in field.metadata):
            found.add(f"{prefix}{name}")
    return found


def value_at(config: Config, path: str):
    for part in path.split("."):
        config = getattr(config, part)
    return config


PORTABLE = sorted(task.name for task in load_host().tasks if task.portable)


@pytest.mark.parametrize("name", PORTABLE)
def test_whatever_becomes_a_whole_path_is_declared_or_the_result(name, tmp_path, monkeypatch):
    """A field that a command anchors is a path or a name: another machine must be told what lies there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    task = load_host().tasks[name]
    cls = task.load_config()
    for path in sorted(all_texts(cls)):
        values: dict = {field: "x" for field, info in cls.model_fields.items() if info.is_required()}
        place = values
        *sections, last = path.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = "here"
        try:
            config = cls.model_validate(values)
        except ValueError:
            continue  # no path is valid there
        changed = value_at(config.with_absolute_paths(), path) != value_at(config, path)
        assert not changed or path in declared(cls) or path == task.output, f"{name}: {path}"


def test_portable_tasks_there_are():
    assert {"train", "predict", "evaluate", "measure"} <= set(PORTABLE)


@pytest.fixture
def filled(home, tmp_path):
    """A home with a model, a dataset and an adapter on a base outside, and a file outside."""
    base = tiny_model(tmp_path / "outside" / "base")
    model = tiny_model(home / "models" / "mine")
    (home / "models" / ".cache").mkdir()
    adapter = home / "artefacts" / "tuned"
    adapter.mkdir(parents=True)
    adapter.joinpath("adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    library.add([Record((Message("user", "a"), Message("assistant", "b")))], "rows")
    text = tmp_path / "outside" / "text.txt"
    text.write_text("some text")
    (tmp_path / "outside" / "neighbour.txt").write_text("secret")
    return SimpleNamespace(
        home=home, base=base, model=model, adapter=adapter, text=text, elsewhere=tmp_path / "elsewhere"
    )


def placed(filled, host, **config):
    """A home elsewhere with what the job reads, and its configuration there."""
    wanted = job(**config)
    inputs, contents = job_inputs(filled.home, wanted, host, FileHashes())
    inputs = JobInputs.model_validate_json(inputs.model_dump_json())
    server = filled.elsewhere / "joined"
    home = JobHome(server, wanted, inputs, filled.elsewhere)
    with home.prepared(lambda content, _: contents[content.sha256]):
        pass
    return home


def tree(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_what_has_a_name_here_has_it_there(filled, host, monkeypatch):
    text = f"{filled.text}:0.5+rows"
    there = placed(filled, host, model="mine", data=[text], inner={"text": str(filled.text)})
    assert tree(there.directory / "models" / "mine") == tree(filled.model)
    assert tree(there.directory / "data" / "rows") == tree(filled.home / "data" / "rows")
    store = there.store(host.tasks["read"])
    config = store.get(7).config
    moved = config["inner"]["text"]
    assert config["data"] == [f"{moved}:0.5+rows"]
    assert Path(moved).read_text() == "some text"
    assert not list(there.directory.rglob("neighbour.txt")), "the file alone, and nothing beside it"
    assert there.paths.there(config) == job(model="mine", data=[text], inner={"text": str(filled.text)}).config
    assert (store.get(7).id, store.get(7).epoch, store.get(7).state) == (7, 0, "queued")
    monkeypatch.setenv("CAMELID_HOME", str(there.directory))
    assert library.has("rows")


def test_an_adapters_base_is_found_there_wherever_it_lay_here(filled, host, monkeypatch):
    from camelid_core.models.resolved_model import resolve_model

    there = placed(filled, host, model="tuned")
    monkeypatch.setenv("CAMELID_HOME", str(there.directory))
    found = resolve_model("tuned", load_host())
    assert found.base.is_relative_to(there.directory)
    assert tree(found.base) == tree(filled.base)
    assert found.adapter_dir == (there.directory / "artefacts" / "tuned").resolve()


def test_an_agent_that_was_stopped_is_in_nobodys_way(filled, host):
    """It holds the home of its job; another agent on the same machine takes the job's next attempt."""
    wanted = job(model="mine")
    inputs, contents = job_inputs(filled.home, wanted, host, FileHashes())

    def home(epoch):
        return JobHome(filled.elsewhere / "joined", replace(wanted, epoch=epoch), inputs, filled.elsewhere)

    with home(1).prepared(lambda content, _: contents[content.sha256]):
        second = home(2)
        with (
            second.prepared(lambda content, _: contents[content.sha256]),
            pytest.raises(JobError, match="another agent"),
        ):
            home(2)
        assert second.directory.name == "000007-2"
    third = home(3)
    with third.prepared(lambda content, _: contents[content.sha256]):
        assert third.directory.name == "000007"
    sweep(filled.elsewhere / "joined")


def test_why_a_job_stays_is_said(filled, host):
    assert why_not_portable(job(model="mine"), host) == ""
    assert "'nodes' is set" in why_not_portable(job(nodes=3), host)
    assert "local hub" in why_not_portable(job(model="hub:/x/a/b"), host)
    assert "no task" in why_not_portable(Job(id=1, task="other", config={}), host)
    with pytest.raises((UnknownName, ModelError)):
        job_inputs(filled.home, job(model="nowhere"), host, FileHashes())


NAMES = st.text("ab.-_ /+:", max_size=12)


@given(NAMES, NAMES)
def test_paths_come_back_as_they_were(before, after):
    paths = PathTranslation(
        [("/srv/home", Path("/tmp/joined/1/7")), ("/srv/home2", Path("/tmp/joined/1/7/inputs/0/x"))]
    )
    for known in ("/srv/home", "/srv/home2"):
        text = f"{before}{known}{after}"
        assert paths.there(paths.here(text)) == text
    assert paths.here("/srv/home3/x and /srv/home-1") == "/srv/home3/x and /srv/home-1"
    assert paths.here({"a": ["/srv/home/x:0.5+/srv/home2"]}) == {
        "a": ["/tmp/joined/1/7/x:0.5+/tmp/joined/1/7/inputs/0/x"]
    }
