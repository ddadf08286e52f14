"""How an answer's Markdown is read and drawn: nothing that a model wrote is lost, and no text is taken for markup.

What Markdown drops, such as the stars of emphasis, the hashes of a heading or the number of a list item, stands in the
text as a quiet mark. Emphasis needs stars at the edge of a word; underscores, escapes, entities and references are read
as they are written. Code, tables and formulas are shown as they are written, in a fixed width. Knows markdown-it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, fence, heading, hr, table
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline, link
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token

from . import esc

DEPTH = 20
"""Lists and links inside one another; the more there are, the longer a bracket takes."""
_UNREAD = {
    "block": ["blockquote", "lheading", "reference", "html_block"],
    "inline": ["escape", "strikethrough", "image", "autolink", "html_inline", "entity"],
}
r"""Rules that would drop characters, or take a sign (> 5, ~5~, x\_y) for markup."""
_EDGES = frozenset("()[]{}\"'“”‘’«»—–-:;,.!?|…")
_CJK = 0x2E7F
_MATH = re.compile(
    r"\$\$.{1,1000}?\$\$|\$(?![\s$])[^$\n]{0,200}?(?<![\s\\])\$(?![0-9A-Za-z])|\\\(.{1,1000}?\\\)|\\\[.{1,1000}?\\\]",
    re.DOTALL,
)
_MATH_BLOCKS = (("$$", "$$"), ("\\[", "\\]"), ("\\begin{", "\\end{"))
_MATH_LINES = 100

BlockRule = Callable[[StateBlock, int, int, bool], bool]


@cache
def renderer() -> MarkdownIt:
    made = MarkdownIt("js-default", {"maxNesting": DEPTH})
    for rules in _UNREAD.values():
        made.disable(rules)
    for name, rule in (("table", _as_written("table", table)), ("heading", _sourced(heading)), ("hr", _sourced(hr))):
        made.block.ruler.at(name, rule, {"alt": ["paragraph"]})
    made.block.ruler.at("fence", _sourced(fence), {"alt": ["paragraph"]})
    made.block.ruler.before("fence", "math", _math_block, {"alt": ["paragraph"]})
    made.inline.ruler.at("newline", _newline)
    made.inline.ruler.at("emphasis", _emphasis)
    made.inline.ruler.at("link", _link)
    made.inline.ruler.before("backticks", "math", _math)
    made.core.ruler.after("block", "paragraphs", _show_paragraphs)
    for name, draw in _DRAWN.items():
        made.add_render_rule(name, draw)
    return made


def _sourced(rule: BlockRule) -> BlockRule:
    """The rule, and in its first token the lines that it read."""

    def read(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        first = len(state.tokens)
        found = rule(state, start, end, silent)
        if found and not silent:
            state.tokens[first].meta["source"] = state.getLines(start, state.line, state.blkIndent, False)
        return found

    return read


def _as_written(name: str, rule: BlockRule) -> BlockRule:
    """What the rule finds, as one token with the lines that it read."""

    def read(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        first = len(state.tokens)
        found = rule(state, start, end, silent)
        if found and not silent:
            del state.tokens[first:]
            state.push(f"{name}_written", "pre", 0).content = state.getLines(start, state.line, state.blkIndent, False)
        return found

    return read


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A formula that begins a line, up to the line in which it closes."""
    if state.is_code_block(start):
        return False
    begin = state.bMarks[start] + state.tShift[start]
    closing = next((closed for opened, closed in _MATH_BLOCKS if state.src.startswith(opened, begin)), "")
    if not closing:
        return False
    begin += len(closing)
    for line in range(start, min(end, start + _MATH_LINES)):
        if closing in state.src[begin : state.eMarks[line]]:
            break
        begin = state.eMarks[line]
    else:
        return False
    if not silent:
        state.line = line + 1
        state.push("math_written", "pre", 0).content = state.getLines(start, line + 1, state.blkIndent, False)
    return True


def _show_paragraphs(state: StateCore) -> None:
    for token in state.tokens:
        token.hidden = False


def _newline(state: StateInline, silent: bool) -> bool:
    """A line ends where the model ended it, and the next keeps its indentation."""
    if state.src[state.pos] != "\n":
        return False
    if not silent:
        state.push("softbreak", "br", 0)
    state.pos += 1
    return True


def _math(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "$\\":
        return False
    found = _MATH.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        state.push("math", "code", 0).content = found[0]
    state.pos = found.end()
    return True


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Stars between white space, punctuation or Chinese on the one side and a word on the other; one star never beside
    a digit."""
    if silent or state.src[state.pos] != "*":
        return False
    scanned, start = state.scanDelims(state.pos, True), state.pos
    before = state.src[start - 1] if start else " "
    after = state.src[start + scanned.length] if start + scanned.length < state.posMax else " "
    product = scanned.length == 1
    opens = scanned.can_open and _edge(before) and not (product and after.isdigit())
    closes = scanned.can_close and _edge(after) and not (product and before.isdigit())
    for _ in range(scanned.length):
        state.push("text", "", 0).content = "*"
        last = len(state.tokens) - 1
        state.delimiters.append(Delimiter(ord("*"), scanned.length, last, -1, opens, closes))
    state.pos += scanned.length
    return True


def _edge(character: str) -> bool:
    return character.isspace() or character in _EDGES or ord(character) > _CJK


def _link(state: StateInline, silent: bool) -> bool:
    """A link, and in its last token the address as it is written."""
    start = state.pos
    if not link(state, silent):
        return False
    if not silent:
        state.tokens[-1].meta["source"] = state.src[state.md.helpers.parseLinkLabel(state, start) : state.pos]
    return True


def mark(text: str) -> str:
    """Characters that say how the text is set."""
    return f'<span class="mark">{esc(text)}</span>' if text else ""


def _drawn(draw: Callable[[Token], str]) -> Callable[..., str]:
    return lambda _, tokens, index, *more: draw(tokens[index])


def _heading_open(_: Any, tokens: Sequence[Token], index: int, *more: Any) -> str:
    token = tokens[index]
    closing = token.meta["source"].strip()[len(token.markup) :].strip().removeprefix(tokens[index + 1].content)
    tokens[index + 2].meta["source"] = closing
    return f"<{token.tag}>{mark(token.markup + ' ')}"


def _code(token: Token) -> str:
    lines = token.meta["source"].split("\n")
    closed = (
        len(lines) > 1 and lines[-1].strip().startswith(token.markup) and set(lines[-1].strip()) == {token.markup[0]}
    )
    first, last = mark(lines[0].strip()), mark(lines[-1].strip()) if closed else ""
    return f"{first}<pre><code>{esc(token.content)}</code></pre>{last}\n"


_DRAWN: dict[str, Callable[..., str]] = {
    "em_open": _drawn(lambda token: mark(token.markup) + "<em>"),
    "em_close": _drawn(lambda token: "</em>" + mark(token.markup)),
    "strong_open": _drawn(lambda token: mark(token.markup) + "<strong>"),
    "strong_close": _drawn(lambda token: "</strong>" + mark(token.markup)),
    "heading_open": _heading_open,
    "heading_close": _drawn(lambda token: f"{mark(token.meta['source'])}</{token.tag}>\n"),
    "list_item_open": _drawn(lambda token: f"<li>{mark(token.info + token.markup)}\n"),
    "hr": _drawn(lambda token: f'<p class="rule">{mark(token.meta["source"].strip())}</p>\n'),
    "link_open": _drawn(
        lambda token: f'{mark("[")}<a href="{esc(token.attrs["href"])}" target="_blank" rel="noopener noreferrer">'
    ),
    "link_close": _drawn(lambda token: "</a>" + mark(token.meta["source"])),
    "code_inline": _drawn(lambda token: f"{mark(token.markup)}<code>{esc(token.content)}</code>{mark(token.markup)}"),
    "code_block": _drawn(
        lambda token: (
            "<pre><code>" + esc("".join("    " + line for line in token.content.splitlines(True))) + "</code></pre>\n"
        )
    ),
    "fence": _drawn(_code),
    "math": _drawn(lambda token: f'<code class="math">{esc(token.content)}</code>'),
    "math_written": _drawn(lambda token: f'<pre class="math">{esc(token.content)}</pre>\n'),
    "table_written": _drawn(lambda token: f'<pre class="table">{esc(token.content)}</pre>\n'),
}
