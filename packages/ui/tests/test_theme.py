"""Our colours hold AA against what they stand on, in light and in dark."""

from __future__ import annotations

import re

import pytest
from camelid_ui.theme import head, stylesheet

PAIRS = [
    ("text", "card"), ("text", "sunk"), ("text", "accent-soft"), ("text", "tok-trained"), ("text", "tok-special"),
    ("quiet", "card"), ("quiet", "sunk"), ("quiet", "accent-soft"), ("accent", "card"), ("accent", "sunk"),
    ("bad", "bad-soft"), ("bad", "card"), ("good", "card"), ("warn", "card"),
]  # fmt: skip


def colours(mode: str) -> dict[str, str]:
    block = re.search(rf"{re.escape(mode)} \{{(.*?)\}}", stylesheet(), re.DOTALL)
    assert block
    return dict(re.findall(r"--c-([\w-]+): (#[0-9a-f]{6})", block[1]))


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("mode", [":root", ".dark"])
@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
def test_text_can_be_read(mode, pair):
    found = colours(mode)
    light, dark = sorted((luminance(found[name]) for name in pair), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("mode", [":root", ".dark"])
def test_every_curve_can_be_seen(mode):
    card = colours(mode)["card"]
    block = re.search(rf"{re.escape(mode)} \{{( --p-raw.*?)\}}", stylesheet())
    lines = dict(re.findall(r"--(p[\w-]+): (#[0-9a-f]{6})", block[1]))
    assert len(lines) == 11
    for colour in lines.values():
        light, dark = sorted((luminance(card), luminance(colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_the_script_is_in_the_page():
    assert "window.camelid" in head()
