"""Registries: names and which plugin claims them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from camelid_core.errors import DuplicateName, UnknownName
from camelid_core.registry import Registry
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Thing:
    name: str
    plugin: str = ""


@given(st.lists(st.text(), unique=True))
def test_items_come_back_by_name_and_in_the_order_they_were_added(names):
    registry = Registry("thing")
    for name in names:
        registry.add(Thing(name), f"plugin of {name}")
    assert registry.names() == names == [item.name for item in registry]
    assert len(registry) == len(names)
    for name in names:
        assert name in registry
        assert registry[name] == Thing(name)
        assert registry.plugin_of(name) == f"plugin of {name}"


def test_a_name_taken_twice_names_both_plugins_and_the_first_keeps_it():
    registry = Registry("template")
    registry.add(Thing("alpaca", "core"), "camelid-core")
    with pytest.raises(
        DuplicateName, match=r"template 'alpaca' is given by camelid-core and by camelid-foo; rename one"
    ):
        registry.add(Thing("alpaca", "foo"), "camelid-foo")
    assert registry["alpaca"].plugin == "core"


def test_an_unknown_name_suggests_the_nearest():
    registry = Registry("template", "camelid templates list")
    registry.add(Thing("alpaca"), "camelid-core")
    for ask in (registry.__getitem__, registry.plugin_of):
        with pytest.raises(UnknownName, match=r"Did you mean 'alpaca'\? `camelid templates list` shows all 1"):
            ask("alpacca")
