"""Conversations as files: nothing said is markup, and records are read back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from camelid_core.errors import DataError, UsageError
from camelid_core.readers import detect, read
from camelid_core.records import Message
from camelid_serve.chat.transcripts import Transcript, jsonl, markdown, parse, record
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=40).filter(str.strip)
EVIL = "```\n</code><script>alert(1)</script>\n# Not a heading\n~~~~\n`````js"


@st.composite
def talks(draw: st.DrawFn) -> Transcript:
    texts = draw(st.lists(st.one_of(WORDS, st.just(EVIL)), min_size=2, max_size=6))
    said = [Message(("user", "assistant")[at % 2], text) for at, text in enumerate(texts[: len(texts) // 2 * 2])]  # type: ignore[arg-type]
    system = draw(st.sampled_from([[], [Message("system", "Be ```kind```.")]]))
    return Transcript((*system, *said), draw(st.uuids()).hex, draw(WORDS), {"seed": 0, "template": draw(WORDS)})


@settings(deadline=None)
@given(st.lists(talks(), min_size=1, max_size=3))
def test_markdown_holds_what_was_said_and_nothing_of_it_is_markup(found: list[Transcript]) -> None:
    tokens = MarkdownIt().parse(markdown(found))
    kinds = {token.type for token in tokens}
    assert kinds <= {"heading_open", "inline", "heading_close", "fence"}
    said = [token.content.removesuffix("\n") for token in tokens if token.type == "fence" and token.info == "text"]
    assert said == [message.text for talk in found for message in talk.messages]
    heads = [token.content for token in tokens if token.type == "fence" and token.info == "yaml"]
    for head, talk in zip(heads, found, strict=True):
        told = {
            key: json.loads(value) for key, _, value in (line.partition(": ") for line in head.rstrip("\n").split("\n"))
        }
        assert told == {"model": talk.model, **talk.metadata}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(found=st.lists(talks(), min_size=1, max_size=3))
@example(found=[Transcript((Message("user", "[not json"), Message("assistant", "[]")), "a", "[m]")])
def test_what_is_saved_is_read_back_identically(found: list[Transcript], tmp_path: Path) -> None:
    path = tmp_path / "saved.jsonl"
    path.write_text(jsonl(found), "utf-8")
    assert list(read(path)) == [record(talk) for talk in found]
    assert detect(path).fits
    again, odd = parse(path, 10)
    assert odd == 0
    assert [(talk.messages, talk.ident, talk.model) for talk in again] == [
        (talk.messages, talk.ident, talk.model) for talk in found
    ]


def test_only_what_was_answered_can_be_learnt_from() -> None:
    asked, answered = Message("user", "Well?"), Message("assistant", "Yes.")
    assert record(Transcript((asked, Message("assistant", ""), asked, answered, asked))).messages == (asked, answered)
    with pytest.raises(UsageError, match="no answer in this conversation yet"):
        jsonl([Transcript((Message("system", "x"), asked))])
    with pytest.raises(DataError, match="surrogate"):
        jsonl([Transcript((asked, Message("assistant", "\ud800")))])


def test_any_data_file_gives_conversations_and_rows_that_are_none_are_counted(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Add", "input": "2, 3", "output": "5"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
        {"instruction": "Add", "output": 5},
        *({"question": str(number), "answer": "x"} for number in range(5)),
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found, odd = parse(path, 4)
    assert (len(found), odd) == (3, 2)
    assert found[0].messages[0].text == "Add\n2, 3"
    assert found[0].model == ""
