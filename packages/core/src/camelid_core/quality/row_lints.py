"""Lints of single rows: each is data, with a name, a check and, where there is one, a fix.

Knows texts and their common faults. Knows nothing of files or of other rows (`corpus_lints` does).
They run over millions of rows, so each begins with the cheapest check that rules it out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from camelid_core.errors import DataError
from camelid_core.records import Record, check_roles

from .row_keys import Normalise, normal_turns

LintFind = Callable[[Record], str]
LintFix = Callable[[Record], "Record | None"]


@dataclass(frozen=True, slots=True)
class Lint:
    """`find` returns what is wrong with a row, empty if nothing is; `fix` returns the corrected row, or None.

    A lint that compares rows has state: `start` returns a `find` that has seen no row yet. Several that go over the
    same rows may share one `NormalTurnsCache`.
    `default` lints run unless others are named; `extra` ones need `camelid-core[quality]`.
    """

    name: str
    help: str
    find: LintFind
    fix: LintFix | None = None
    factory: Callable[[Normalise], LintFind] | None = None
    default: bool = True
    extra: bool = False

    def start(self, normalise: Normalise = normal_turns) -> LintFind:
        return self.factory(normalise) if self.factory else self.find


def snippet(text: str, at: int = 0, width: int = 60) -> str:
    """One line of `text` around `at`, short enough for a report."""
    start = max(0, at - width // 3)
    cut = text[start : start + width]
    return repr(("…" if start else "") + cut + ("…" if start + width < len(text) else ""))


def _empty_output(record: Record) -> str:
    messages = record.messages
    if record.is_text:
        return "" if messages[0].content.strip() else "the text is empty"
    if not messages or messages[-1].role != "assistant":
        return "there is no answer"
    for number, message in enumerate(messages, 1):
        if message.role == "assistant" and (not message.content or message.content.isspace()):
            return f"the answer in turn {number} is empty"
    return ""


def _empty_instruction(record: Record) -> str:
    for number, message in enumerate(record.messages, 1):
        if message.role == "user" and not message.content.strip() and not message.context.strip():
            return f"the question in turn {number} is empty"
    return ""


_HASHTAGS = re.compile(r"(?:(?<=\s)|\A)#[^\W\d]\w*(?:\s+#[^\W\d]\w*)*\s*\Z")


def _hashtags_at_end(answer: str) -> str:
    if "#" not in answer[-80:]:
        return ""
    found = _HASHTAGS.search(answer, max(0, len(answer) - 400))
    return found[0].strip() if found else ""


def ends_in_hashtags(answer: str) -> bool:
    """Whether an answer ends in #hashtags."""
    return bool(_hashtags_at_end(answer))


def _trailing_hashtags(record: Record) -> str:
    found = _hashtags_at_end(record.answer)
    return f"the answer ends in {snippet(found)}" if found else ""


def _without_hashtags(record: Record) -> Record | None:
    answer = _HASHTAGS.sub("", record.answer).rstrip()
    return _answered(record, answer) if answer else None


def _roles(record: Record) -> str:
    messages = record.messages
    if record.is_text or (len(messages) == 2 and messages[0].role == "user" and messages[1].role == "assistant"):
        return ""
    try:
        check_roles(messages)
    except DataError as error:
        return str(error)
    return "" if messages[-1].role == "assistant" else f"the last turn is from {messages[-1].role!r}"


CONTROL_TOKENS = (
    "<s>", "</s>", "<unk>", "<pad>", "[PAD]", "<bos>", "<eos>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
    "<start_of_turn>", "<end_of_turn>", "[gMASK]", "<sop>", "<eop>", "[MASK]", "<eoh>", "<eom>", "<eoa>",
)  # fmt: skip
"""Control tokens of the well-known families; those between `<|` and `|>` need no list."""
_CONTROL = re.compile(r"<\|[a-zA-Z_0-9]{1,40}\|>|" + "|".join(map(re.escape, CONTROL_TOKENS)))


def _control_tokens(record: Record) -> str:
    return _tokens_in(record, _CONTROL)


def control_tokens_of(tokens: Iterable[str]) -> Lint:
    """The lint `control-tokens` for one tokenizer: `special_tokens(tokenizer)` of `camelid_core.tokenization`."""
    known = sorted({token for token in tokens if token}, key=len, reverse=True)
    if not known:
        return replace(LINTS["control-tokens"], find=lambda record: "")
    pattern = re.compile("|".join(map(re.escape, known)))
    return replace(LINTS["control-tokens"], find=lambda record: _tokens_in(record, pattern, only_brackets=False))


def _tokens_in(record: Record, pattern: re.Pattern[str], only_brackets: bool = True) -> str:
    for number, message in enumerate(record.messages, 1):
        for text in (message.content, message.context) if message.context else (message.content,):
            if only_brackets and "<" not in text and "[" not in text:
                continue
            found = pattern.search(text)
            if found:
                return f"turn {number} spells the control token {found[0]!r}: {snippet(text, found.start())}"
    return ""


def _answer_is_prompt(record: Record) -> str:
    answer = record.answer.strip()
    if not answer:
        return ""
    for message in record.prompt:
        if message.role == "user" and (message.content.strip() == answer or message.context.strip() == answer):
            return f"the answer repeats the question: {snippet(answer)}"
    return ""


_SHORT, _LONG = 3, 20_000


def _short_answer(record: Record) -> str:
    answer = record.answer
    if len(answer) > 3 * _SHORT:
        return ""
    answer = answer.strip()
    return f"the answer is only {answer!r}" if 0 < len(answer) < _SHORT else ""


def _long_row(record: Record) -> str:
    length = sum(len(message.content) + len(message.context) for message in record.messages)
    return f"{length:,} characters" if length > _LONG else ""


# Not where a quotation mark follows (a string in code) and not LaTeX: \nu, \nabla, \neq, \newcommand …
_ESCAPED = re.compile(
    r"(?<!\\)(?:\\r)?\\n(?!['\"`])"
    r"(?!(?:u|e|eq|i|ot|otin|eg|abla|earrow|warrow|ewline|ewcommand|ewpage|exists|mid|cong|ormalsize|oindent)\b)"
)


_CODE_SIGNS = ('"', "`", "('", "= '", "='", ", '", "['", "{'")


def _escaped_newlines(record: Record) -> str:
    for number, message in enumerate(record.messages, 1):
        for text in (message.content, message.context) if message.context else (message.content,):
            line = _escaped(text)
            if line:
                at = _ESCAPED.search(line)
                shown = snippet(line, at.start() if at else 0)
                return f"turn {number} has the two characters \\n instead of a new line: {shown}"
    return ""


_ESCAPED_TAG = re.compile(r"<\|(?:system|user|assistant)\|>\\n|\\n<\|(?:system|user|assistant)\|>")


def _escaped_tags(record: Record) -> str:
    for number, message in enumerate(record.messages, 1):
        for text in (message.content, message.context):
            found = "|>" in text and _ESCAPED_TAG.search(text)
            if found:
                return f"turn {number} has a tag with the two characters \\n beside it: {snippet(text, found.start())}"
    return ""


def _escaped(text: str) -> str:
    """The first line in which the two characters mean a new line."""
    if "\\n" not in text:
        return ""
    return next((line for line in text.split("\n") if _means_newline(line, "\n" not in text)), "")


def _means_newline(line: str, only: bool) -> bool:
    """In a text that has real line breaks too, a line that looks like code means what it says."""
    if "\\n" not in line or (not only and any(sign in line for sign in _CODE_SIGNS)):
        return False
    return _ESCAPED.search(line) is not None


def _unescaped(record: Record) -> Record | None:
    return _each_text(record, _unescape)


def _unescape(text: str) -> str:
    only = "\n" not in text
    return "\n".join(_ESCAPED.sub("\n", line) if _means_newline(line, only) else line for line in text.split("\n"))


# UTF-8 decoded as Windows-1252: a lead byte's letter and a continuation byte's character.
_MOJIBAKE = re.compile(
    "\ufffd|[\u00c2\u00c3][\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u0152\u017d"
    "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u0153\u017e\u0178]|\u00e2\u20ac.|\u00ef\u00bb\u00bf"
)


def _mojibake(record: Record) -> str:
    for number, message in enumerate(record.messages, 1):
        for text in (message.content, message.context):
            if text.isascii():
                continue
            found = _MOJIBAKE.search(text)
            if found:
                return f"turn {number} has damaged characters: {snippet(text, found.start())}"
    return ""


def _redecoded(record: Record) -> Record | None:
    fixed = _each_text(record, _redecode)
    return fixed if fixed is not None and not _mojibake(fixed) else None


def _redecode(text: str) -> str:
    if text.isascii() or not _MOJIBAKE.search(text):
        return text
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text


REFUSALS = (
    "as an ai language model", "as a large language model", "as an ai model", "as an ai,", "as an ai assistant",
    "i'm just an ai", "i am just an ai", "i'm sorry, but i can", "i am sorry, but i can", "i cannot fulfill",
    "i can't fulfill", "i cannot assist with", "i can't assist with", "i'm not able to assist", "作为一个人工智能",
    "作为一个ai", "作为ai语言模型", "作为一名ai", "作为人工智能",
)  # fmt: skip
"""Openings of answers that refuse, in lower case."""
_REFUSAL = re.compile("|".join(map(re.escape, REFUSALS)))


def _may_refuse(text: str) -> bool:
    """Whether one of the refusals can be there at all. Written out: a loop over the substrings takes twice as long."""
    return (
        "an ai" in text
        or "language model" in text
        or "sorry, but i can" in text
        or "t fulfill" in text
        or "assist with" in text
        or "to assist" in text
        or "作为" in text
    )


def _refusal(record: Record) -> str:
    for message in record.messages:
        if message.role != "assistant":
            continue
        text = message.content.lower().replace("\u2019", "'")
        if _may_refuse(text):
            found = _REFUSAL.search(text)
            if found:
                return f"the answer refuses: {snippet(message.content, found.start())}"
    return ""


def _each_text(record: Record, change: Callable[[str], str]) -> Record:
    messages = tuple(
        replace(message, content=change(message.content), context=change(message.context))
        for message in record.messages
    )
    return replace(record, messages=messages)


def _answered(record: Record, answer: str) -> Record:
    return replace(record, messages=(*record.prompt, replace(record.messages[-1], content=answer)))


LINTS: dict[str, Lint] = {
    lint.name: lint
    for lint in (
        Lint("empty-output", "An answer or a text by itself that is empty: there is nothing to learn.", _empty_output),
        Lint("empty-instruction", "A question without text.", _empty_instruction),
        Lint("role-order", "Turns that do not alternate, or that do not end in an answer.", _roles),
        Lint(
            "trailing-hashtags",
            "An answer that ends in #hashtags; small models pick that up.",
            _trailing_hashtags,
            _without_hashtags,
        ),
        Lint(
            "control-tokens",
            "Text that spells a control token. Camelid keeps it plain text; other trainers do not.",
            _control_tokens,
        ),
        Lint(
            "escaped-newlines",
            "The two characters \\n where a new line was meant.",
            _escaped_newlines,
            _unescaped,
        ),
        Lint(
            "escaped-tags",
            "A template's tags with the two characters \\n beside them: Tulu's prompt as one model card shows it.",
            _escaped_tags,
        ),
        Lint("mojibake", "UTF-8 read as another encoding, or characters lost to one.", _mojibake, _redecoded),
        Lint("refusal", "An answer that refuses: “As an AI language model …”.", _refusal),
        Lint("answer-is-prompt", "An answer that repeats the question word for word.", _answer_is_prompt),
        Lint("short-answer", f"An answer of fewer than {_SHORT} characters.", _short_answer),
        Lint("long-row", f"A conversation or text of more than {_LONG:,} characters.", _long_row),
    )
}
"""The lints of one row, by name; `camelid_core.quality.LINTS` adds those that compare rows."""
