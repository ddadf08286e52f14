"""Answers as Markdown: every character that a model wrote can be read, and emphasis is never inside words."""

from __future__ import annotations

import html
import re

import pytest
from camelid_ui.views.markdown import markdown
from hypothesis import example, given
from hypothesis import strategies as st

PIECES = [
    *("12*3 = 36. ", "5*6", "__init__", "C:\\new\\*dir*", "**bold**", "*em*", "a_b_c ", "2 ** 3 ** 4"),
    *("~~x~~", "&amp; &#42;"),
    *("# Title #", "- one", "7. seven", "3) three", "> 5", "---", "```py\nx = '*a*'\n```", "    y = 1*2*3", "`a*b*c`"),
    *("$a_1*b_1*c$", "$$\nx\n= y\n$$", "\\(a*b*c\\)", "\\[\n- q\n\\]", "[x](http://a.b/c_d?e=*f*)"),
    *("[1]: http://x.test/",),
    *("| a | b |\n|---|---|\n| 1 | 2 | 3 |", "<http://a.b>", "<b>", "\\*", "\n", "\n\n", " "),
    *("是**重点**内容", "\\", "1", "word"),
]  # fmt: skip
"""What models write, and what Markdown drops or takes for markup."""


def shown(text: str) -> str:
    """What a person reads."""
    return html.unescape(re.sub(r"<[^>]*>", "", markdown(text)))


@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
    | st.text("ab1 \n*_`#-+.)[]()$\\|&<>~!:=\t", max_size=60)
)
@example("`a  \n b` `` ` ``")
@example("* * *\n- - -")
@example("## a \\#\n#\n#a")
def test_no_character_of_an_answer_is_lost(text):
    assert "".join(shown(text).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "text",
    ["12*3*4 and 5*6",
     "12*3 = 36. Then 5*6 = 30",
     "2 *3* 4", "2**10**2", "__init__", "a_b_c", "snake_case_name",
     "x*y*z", "C:\\new\\*dir*",
     "int *a, *b", "f(*args, **kwargs)", "*6 and 5*"],
)  # fmt: skip
def test_words_numbers_and_paths_are_never_emphasised(text):
    assert not re.search("<em>|<strong>|class", markdown(text))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("This is **bold**, truly.", "<strong>bold</strong>"),
        ("*so* it is", "<em>so</em>"),
        ("这是**重点**内容", "<strong>重点</strong>"),
        ("### Steps", "<h3>"),
        ("1. a\n1. b", '<span class="mark">1.</span>'),
        ("```py\nx = 1\n```", "<pre><code>x = 1\n</code></pre>"),
        ("so `a*b`", "<code>a*b</code>"),
        ("so $a*b*c$.", '<code class="math">$a*b*c$</code>'),
        ("$$\na\n\n= b\n$$", '<pre class="math">$$\na\n\n= b\n$$</pre>'),
        ("[x](http://a.b)", '<a href="http://a.b" target="_blank"'),
        ("| a |\n|---|\n| 1 |", '<pre class="table">| a |\n|---|\n| 1 |</pre>'),
    ],
)
def test_emphasis_code_formulas_and_links_are_shown_as_such(text, part):
    assert part in markdown(text)


def test_money_is_no_formula():
    assert "math" not in markdown("It costs $5, or $10 for two; $3-$4 before.")
