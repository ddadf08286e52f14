"""The demo profile: every method that changes anything refuses, and a method that is not listed is denied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from camelid_core.config import validate
from camelid_core.errors import CamelidError, UsageError
from camelid_core.records import Message
from camelid_serve.engine import Sampling
from camelid_train.config import Recipe
from camelid_train.export.merge_config import MergeConfig
from camelid_ui.access_profile import DEMO, PROFILES, NotPermitted, find_profile
from camelid_ui.services import Services, permissions
from camelid_ui.services.chat import AnswerRequest, ChatService
from camelid_ui.services.permissions import (
    CHANGING_METHODS,
    LIMITED_METHODS,
    NOT_SERVICES,
    READ_METHODS,
    SERVER_METHODS,
    methods,
    methods_in,
    service_paths,
)

CLOSED = [(path, name) for path, names in CHANGING_METHODS.items() for name in names.split()]
QUESTION = [AnswerRequest([Message("user", "What is 2 + 2?")])]


@pytest.fixture
def demo(services) -> Services:
    """The demo, with the tiny model as the only one to choose."""
    return replace(services, profile=DEMO.model_copy(update={"models": ("tiny",)}))


def files(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_every_method_of_every_service_is_listed_once(services):
    """A new method reads, changes, or is limited: list it in `services.permissions`."""
    there = {(path, name) for path, service in service_paths(services) for name in methods(service)}
    tables = [
        {(path, name) for path in table for name in methods_in(table, path)}
        for table in (READ_METHODS, CHANGING_METHODS, LIMITED_METHODS, SERVER_METHODS)
    ]
    assert set().union(*tables) == there
    assert sum(map(len, tables)) == len(there)
    assert {path.partition(".")[0] for path, _ in service_paths(services)} | set(NOT_SERVICES) == set(vars(services))


@pytest.mark.parametrize(("path", "name"), CLOSED, ids=".".join)
def test_each_change_is_refused_in_one_sentence(demo, home, path, name):
    before = files(home)
    method = getattr(dict(service_paths(demo))[path], name)
    for arguments in ((), ("tiny",), (1, True), (Recipe(), "name", "key")):
        with pytest.raises(NotPermitted, match="nothing on their machine can be changed") as caught:
            method(*arguments)
        assert "\n" not in str(caught.value)
    assert files(home) == before
    assert demo.jobs.all() == []


def test_services_that_hold_one_another_refuse_too(demo):
    for part in (demo.training, demo.merge, demo.predictions):
        with pytest.raises(NotPermitted):
            part.jobs.submit("merge", MergeConfig(adapter="x"))
    with pytest.raises(NotPermitted):
        demo.data.lints.collection.remove("x")


def test_a_method_that_is_not_listed_is_denied(services):
    class Newer(type(services.jobs)):
        def wipe(self) -> None:
            raise AssertionError

    jobs = Newer(services.jobs.store, lambda: None)
    with pytest.raises(NotPermitted):
        replace(services, jobs=jobs, profile=DEMO).jobs.wipe()


def test_no_worker_is_woken(services):
    woken = []
    services.jobs.wake = lambda: woken.append(1)
    replace(services, profile=DEMO).jobs.wake()
    assert woken == []


def test_reading_is_allowed(demo):
    assert demo.models.names() == demo.models.bases() == ["tiny"]
    name = demo.data.collection.names()[0]
    here = next(value for _, value in demo.data.collection.sources())
    assert demo.data.collection.page(here, 0, 2)
    assert demo.data.lengths.sample(here, "tiny").rows
    demo.training.check(validate(Recipe, {"model": {"name": "tiny"}, "data": {"sources": [f"{here}:0.5"]}}, "it"))
    assert demo.data.collection.show(name)
    assert demo.plugins.all()


def test_only_listed_models_and_datasets_are_opened(demo, tiny, questions):
    recipe = validate(Recipe, {"model": {"name": "tiny"}, "data": {"sources": [str(questions)]}}, "it")
    openings = [
        lambda: demo.models.resolve(str(tiny)),
        lambda: demo.models.encoder("smollm2-360m"),
        lambda: demo.chat.load(str(tiny)),
        lambda: demo.merge.estimate(MergeConfig(adapter=str(tiny))),
        lambda: demo.data.collection.page(str(questions), 0, 1),
        lambda: demo.data.collection.rows("/etc/passwd"),
        lambda: demo.data.collection.find(str(questions)),
        lambda: demo.data.lengths.sample(str(questions), "tiny"),
        lambda: demo.data.lints.sample(str(questions)),
        lambda: demo.training.estimate(recipe, demo.data),
        lambda: demo.training.check(recipe),
    ]
    for opening in openings:
        with pytest.raises(NotPermitted):
            opening()
    assert demo.training.data_choices(recipe, demo.data)[0].entry is None


class Resident(ChatService):
    """Answers without a model, and keeps the request."""

    def ask(self, session, columns, sampling):
        self.asked = sampling
        yield from ([], [])


def test_a_chat_has_limits(demo):
    demo = replace(demo, chat=Resident(demo.models))
    assert len(list(demo.chat.ask("me", QUESTION, Sampling(max_new_tokens=4096)))) == 2
    assert demo.chat.asked.max_new_tokens == DEMO.max_new_tokens
    long = [AnswerRequest([Message("user", "a" * 3000), Message("assistant", "b" * 3000)])]
    with pytest.raises(NotPermitted, match="6,000 characters"):
        next(demo.chat.ask("me", long, Sampling()))
    with pytest.raises(NotPermitted, match="characters"):
        demo.models.prompt("tiny", long[0].messages)


def test_the_local_profile_allows_everything(services):
    before = {
        (path, name): getattr(service, name) for path, service in service_paths(services) for name in methods(service)
    }
    permissions.enforce(services, PROFILES["local"])
    assert all(getattr(dict(service_paths(services))[path], name) == method for (path, name), method in before.items())


def test_an_unknown_profile_is_named():
    with pytest.raises(UsageError, match=r"'demos'.*local or demo.*Did you mean 'demo'"):
        find_profile("demos")
    assert issubclass(NotPermitted, CamelidError)
