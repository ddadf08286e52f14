"""What errors promise to those who catch and read them."""

from __future__ import annotations

import inspect

import pytest
from camelid_core import errors
from camelid_core.errors import CamelidError, UnknownName, did_you_mean

LEAVES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, CamelidError) and cls is not CamelidError
]


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_every_error_is_ours_a_standard_one_and_drawn_in_the_tree(cls):
    standard = [
        base for base in cls.__mro__ if base.__module__ == "builtins" and base not in (Exception, BaseException, object)
    ]
    assert standard
    assert cls.__name__ in errors.__doc__


def test_an_unknown_name_says_what_was_given_what_is_near_and_what_to_type():
    error = UnknownName("template", "alpacca", ["vicuna", "alpaca"], "camelid templates list")
    assert str(error) == "template 'alpacca' is not known. Did you mean 'alpaca'? `camelid templates list` shows all 2."
    assert error.exit_code == 2


def test_without_a_listing_the_known_names_are_given():
    assert str(UnknownName("task", "dance", ["train", "merge"])).endswith("Known: merge, train.")


def test_nothing_is_suggested_when_nothing_is_near():
    assert did_you_mean("quux", ["alpaca", "tulu"]) == ""
