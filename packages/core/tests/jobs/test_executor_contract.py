"""The local executor keeps the rules of all executors, and each rule is broken by an executor that breaks it."""

from __future__ import annotations

import pytest
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.testing import assert_executor_contract

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def known_task(monkeypatch):
    monkeypatch.setenv("CAMELID_PLUGINS", "executor-contract==1=camelid_core.plugin_kit.contract_tasks")


def test_the_local_executor_keeps_the_contract(store):
    assert_executor_contract(LocalExecutor(), store)


class Forgets(LocalExecutor):
    name = "forgets"

    def kill_leftovers(self, directory):
        """Leave them."""


def test_an_executor_that_leaves_something_behind_does_not(store):
    with pytest.raises(AssertionError, match="after kill_leftovers the attempt went on"):
        assert_executor_contract(Forgets(), store)
