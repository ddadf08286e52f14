"""Cards: tables are tables, what is not text is not shown, and nobody's HTML is run."""

from __future__ import annotations

from camelid_ui.views.card import card
from hypothesis import given
from hypothesis import strategies as st


def test_a_card_reads_as_it_will_where_it_is_published():
    shown = card("---\nlicense: mit\n---\n<!-- header start -->\n# Name\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n")
    assert "<h1>Name</h1>" in shown
    assert shown.count("<td>") == 2
    assert "license" not in shown
    assert "header start" not in shown


@given(st.text(alphabet="<>\"'()[]! \nascriptjv:onerror=/&", max_size=200))
def test_no_html_of_a_card_is_run(text):
    shown = card(f"<script>alert(1)</script> [x](javascript:alert(1)) <img src=x onerror=alert(1)>\n{text}")
    for part in ("<script", 'href="javascript:', "<img src=x"):
        assert part not in shown.lower()


def test_what_would_take_too_long_is_plain_text():
    assert card("[" * 400_000).startswith("<pre")
