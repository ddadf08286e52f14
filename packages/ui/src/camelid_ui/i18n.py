"""Translations (i18n): every text on the pages, in every language.

Knows keys and locales. Fixed labels are translated in the browser (`t`); sentences with values in them are formatted
here in the language the browser asked for (`Translator`). Imports gradio only for `t`.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

LOCALES = ("en", "zh")


@functools.cache
def strings(locale: str) -> dict[str, str]:
    """All strings of one locale by dotted key."""
    source = files("camelid_ui").joinpath("locales", f"{locale}.toml").read_text(encoding="utf-8")
    return dict(_flatten(tomllib.loads(source)))


class Translator:
    """Texts of one language: `say("header.running", count=2)`."""

    def __init__(self, locale: str) -> None:
        self.locale = locale

    def __call__(self, key: str, **values: Any) -> str:
        return strings(self.locale)[key].format(**values)

    def optional(self, key: str, default: str) -> str:
        """The text of `key` if there is one, else `default`: for names that plugins may add."""
        return strings(self.locale).get(key, default)


def translator_for(request: Any) -> Translator:
    """For the language the browser asked for first; English where there is no request."""
    accepted = request.headers.get("accept-language", "") if request is not None else ""
    first = accepted.split(",")[0].split("-")[0].strip().lower()
    return Translator(first if first in LOCALES else "en")


def t(key: str) -> Any:
    """A label that the browser translates."""
    if key not in strings("en"):
        raise KeyError(f"no string {key!r} in locales/en.toml")
    return _browser_text(key)


def t_optional(key: str, default: str) -> Any:
    """Like `t`, for names that plugins may add."""
    return _browser_text(key) if key in strings("en") else default


def t_field(path: str, part: str, english: str) -> Any:
    """A field's `label` or `help`: the text of its class, or its translation where there is one."""
    key = f"{part}.{path}"
    return _browser_text(key) if any(key in strings(locale) for locale in LOCALES) else english


def translations(english: Mapping[str, str], bounds: Mapping[str, str]) -> Any:
    """The texts for the browser; `english` has those of the configuration classes, by `part.path`; `bounds` are
    appended to the help in any language."""
    import gradio as gr

    def table(locale: str) -> dict[str, str]:
        own = {key: f"{text} ({bounds[key]})" if key in bounds else text for key, text in strings(locale).items()}
        texts = {**english, **own}
        for key in english:
            part, _, field = key.partition(".")
            if part == "help":
                texts[key] = _without_label(texts[key], texts.get(f"label.{field.partition('@')[0]}", ""))
        return {_browser_key(key): text for key, text in texts.items()}

    return gr.I18n(**{locale: table(locale) for locale in LOCALES})


def _without_label(text: str, label: str) -> str:
    """A help text begins with the term, for the command line; below a label that is the same term it does not."""
    term = re.match(re.escape(re.split(r"\s*[(（]", label)[0]) + r"\s*[:：]\s*", text, re.IGNORECASE) if label else None
    return text[term.end() :][:1].upper() + text[term.end() + 1 :] if term else text


def _browser_text(key: str) -> Any:
    from gradio.i18n import I18nData

    return I18nData(_browser_key(key))


def _browser_key(key: str) -> str:
    return key.replace(".", "_")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
