"""Both languages say everything, with the same values in each sentence; every key in the code exists."""

from __future__ import annotations

import re
import string
from pathlib import Path
from types import SimpleNamespace

import camelid_ui
import pytest
from camelid_ui.app import FORMS, OURS, i18n
from camelid_ui.fields import knobs
from camelid_ui.text import LOCALES, Voice, strings, t, voice_of

SOURCE = Path(camelid_ui.__file__).parent


def without_fields(locale):
    return {key for key in strings(locale) if not key.startswith(("label.", "help."))}


def test_both_languages_have_the_same_keys():
    assert without_fields("en") == without_fields("zh")


@pytest.mark.parametrize("key", sorted(without_fields("en")))
def test_a_sentence_takes_the_same_values_in_every_language(key):
    names = [{name for _, name, _, _ in string.Formatter().parse(strings(locale)[key]) if name} for locale in LOCALES]
    assert all(each == names[0] for each in names)


def test_every_field_has_a_chinese_name_and_help():
    paths = {knob.path for cls in FORMS for knob in knobs(cls)}
    missing = {f"{part}.{path}" for part in ("label", "help") for path in paths} - set(strings("zh"))
    assert missing == set()
    named = {key for locale in LOCALES for key in strings(locale) if key.startswith(("label.", "help."))}
    stale = {key for key in named if key.partition(".")[2] not in paths}
    assert stale == set()


def test_every_key_in_the_code_exists():
    used = set()
    for path in SOURCE.rglob("*.py"):
        used |= set(re.findall(r'\b(?:say|t)\("([a-z_]+\.[a-z_.]+)"', path.read_text(encoding="utf-8")))
    assert len(used) > 100
    assert used - set(strings("en")) == set()


def test_every_tab_has_a_name():
    assert {f"tab.{name}" for name in OURS} <= set(strings("en"))
    with pytest.raises(KeyError):
        t("no.such.key")


@pytest.mark.parametrize(
    ("header", "locale"), [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-US,zh;q=0.5", "en"), ("de", "en"), ("", "en")]
)
def test_the_browser_chooses_the_language(header, locale):
    assert voice_of(SimpleNamespace(headers={"accept-language": header})).locale == locale


def test_names_that_plugins_add_are_said_as_they_are():
    assert Voice("zh").maybe("task.theirs", "theirs") == "theirs"


def test_the_browser_gets_what_classes_say():
    table = i18n().translations
    assert table["en"]["label_train_seed"] == "Seed"
    assert table["zh"]["label_train_seed"] == "种子"
    assert table["en"]["help_train_batch_size"] == "Rows that go through the model at once. (1–4096)"
    assert table["zh"]["help_train_batch_size"] == "同时通过模型的行数。 (1–4096)"
