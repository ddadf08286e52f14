"""Both languages have every text, with the same values in each sentence; every key in the code exists."""

from __future__ import annotations

import re
import string
from pathlib import Path
from types import SimpleNamespace

import camelid_ui
import pytest
from camelid_core.plugins import load_host
from camelid_serve.presets import PRESETS
from camelid_ui.app import CONFIG_CLASSES, browser_translations
from camelid_ui.config_fields import config_fields
from camelid_ui.config_form import field_texts
from camelid_ui.i18n import LOCALES, Translator, strings, t, translator_for
from camelid_ui.pages import BUILT_IN_TABS
from camelid_ui.services.training.selection import PLUGIN_SECTIONS

SOURCE = Path(camelid_ui.__file__).parent


def without_fields(locale):
    return {key for key in strings(locale) if not key.startswith(("label.", "help.", "preset."))}


def test_both_languages_have_the_same_keys():
    assert without_fields("en") == without_fields("zh")


@pytest.mark.parametrize("key", sorted(without_fields("en")))
def test_a_sentence_takes_the_same_values_in_every_language(key):
    names = [{name for _, name, _, _ in string.Formatter().parse(strings(locale)[key]) if name} for locale in LOCALES]
    assert all(each == names[0] for each in names)


def test_every_field_has_a_chinese_name_and_help():
    every = [config_field for cls in CONFIG_CLASSES for config_field in config_fields(cls)]
    labels, helps = (
        {f"label.{config_field.path}" for config_field in every},
        {f"help.{config_field.key}" for config_field in every},
    )
    ways = {
        f"help.{section}.type={way.name}"
        for section in PLUGIN_SECTIONS
        for way in load_host().registry(PLUGIN_SECTIONS[section])
    }
    assert (labels | helps | ways) - set(strings("zh")) == set()
    named = {key for locale in LOCALES for key in strings(locale) if key.startswith(("label.", "help."))}
    stale = {
        key for key in named - labels - helps - ways if not key.startswith(("label.objective.", "help.objective."))
    }
    assert stale == set()  # a plugin of ours that is not here gives objectives, too


def test_a_text_that_two_variants_share_is_true_for_both():
    """The browser has one text for a field's name, whichever variant it is in."""
    said: dict[str, set[str]] = {}
    for cls in CONFIG_CLASSES:
        for key, text in field_texts([cls]).items():
            said.setdefault(key, set()).add(text)
    assert {key for key, texts in said.items() if len(texts) > 1} - set(strings("en")) == set()


@pytest.mark.parametrize("locale", LOCALES)
def test_no_help_text_repeats_its_label(locale):
    texts = browser_translations().translations[locale]
    for key in [key for key in texts if key.startswith("help_") and "@" not in key]:
        label = texts.get(key.replace("help_", "label_", 1))
        if label:
            assert not texts[key].lower().startswith((f"{label.lower()}:", f"{label.lower()}："))
    assert len(texts["help_train_accumulation"]) > 20


def test_every_preset_is_explained_in_chinese():
    assert {key for key in strings("zh") if key.startswith("preset.")} == {f"preset.{name}" for name in PRESETS}


def test_every_key_in_the_code_exists():
    used = set()
    for path in SOURCE.rglob("*.py"):
        used |= set(re.findall(r'\b(?:say|t)\("([a-z_]+\.[a-z_.]+)"', path.read_text(encoding="utf-8")))
    assert len(used) > 100
    assert used - set(strings("en")) == set()


def test_every_tab_has_a_name():
    assert {f"tab.{name}" for name in BUILT_IN_TABS} <= set(strings("en"))
    with pytest.raises(KeyError):
        t("no.such.key")


@pytest.mark.parametrize(
    ("header", "locale"), [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-US,zh;q=0.5", "en"), ("de", "en"), ("", "en")]
)
def test_the_browser_chooses_the_language(header, locale):
    assert translator_for(SimpleNamespace(headers={"accept-language": header})).locale == locale


def test_names_that_plugins_add_are_shown_as_they_are():
    assert Translator("zh").optional("task.theirs", "theirs") == "theirs"


def test_the_browser_gets_labels_and_help_of_the_classes():
    table = browser_translations().translations
    assert table["en"]["label_train_seed"] == "Seed"
    assert table["zh"]["label_train_seed"] == "随机种子"
    assert (
        table["en"]["help_train_weight_decay"] == "Weight decay of AdamW, decoupled from the gradient; 0 is none. (0–1)"
    )
    assert table["zh"]["help_train_weight_decay"] == "AdamW 的权重衰减。 (0–1)"
