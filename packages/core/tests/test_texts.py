"""Texts by themselves, for continued pre-training: read whole, trained whole, divided and never cut off."""

from __future__ import annotations

import json
from itertools import groupby

import pytest
from camelid_core.builtin.templates import ALPACA, CHATML
from camelid_core.errors import CamelidError, DataError, TemplateError, UsageError
from camelid_core.mixing.heldout import HeldOutSelection
from camelid_core.plugins import load_host
from camelid_core.quality import LINTS, compute_stats
from camelid_core.readers import MAX_FIELD, Columns, Faults, detect, read
from camelid_core.records import Message, Record, alpaca, text_record
from camelid_core.testing import tiny_tokenizer, write_jsonl
from camelid_core.token_cache import TokenCache, count_tokens
from camelid_core.tokenization.encoder import Encoder
from camelid_core.writers import write
from hypothesis import given, settings
from hypothesis import strategies as st

TEXTS = ["A llama is no camel.\n\nIt spits.", "骆驼有两个峰。", "### Instruction:\nNone.", " x"]
ENCODER = Encoder(tiny_tokenizer(), CHATML)


def contents(records):
    return [(message.role, message.content) for record in records for message in record.messages]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_file_format_holds_texts(tmp_path, suffix):
    path = tmp_path / f"books{suffix}"
    assert write(map(text_record, TEXTS), path) == len(TEXTS)
    assert contents(read(path)) == [("text", text) for text in TEXTS]
    assert detect(path).reader == "text"
    assert detect(path).fits


def test_other_columns_are_named_and_an_answer_means_another_format(tmp_path):
    faults = Faults()
    path = write_jsonl(tmp_path / "wiki.jsonl", [{"id": "7", "url": "https://a.b", "text": "Llamas."}])
    assert list(read(path, faults=faults)) == [text_record("Llamas.", "7", "wiki")]
    assert faults.sentences() == ["Columns that are not used: 'url' in 1 row."]
    labelled = write_jsonl(tmp_path / "imdb.jsonl", [{"text": "Fine film.", "label": "positive"}])
    with pytest.raises(DataError, match="instruction=text,output=label"):
        list(read(labelled))
    for given_by in ({"reader": "text"}, {"columns": Columns.parse("text=text")}):
        assert contents(read(labelled, **given_by)) == [("text", "Fine film.")]


def test_a_mapping_of_a_text_names_no_turns(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [{"body": "Llamas.", "q": "?"}])
    assert contents(read(path, columns=Columns.parse("text=body"))) == [("text", "Llamas.")]
    with pytest.raises(UsageError, match="leave out instruction, output, or 'text'"):
        list(read(path, columns=Columns.parse("text=body,instruction=q,output=q")))


@pytest.mark.parametrize("value", [None, 7, "half \ud800"])
def test_what_is_no_text_is_refused(tmp_path, value):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": value}) + "\n")
    with pytest.raises(DataError, match="line 1, 'text': "):
        list(read(path))


def test_a_plain_text_file_is_one_text(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes("\ufeff[Illustration]\r\n\r\n{Chapter I}\nCall me 骆驼.\r\n".encode())
    assert contents(read(path)) == [("text", "[Illustration]\n\n{Chapter I}\nCall me 骆驼.\n")]
    assert detect(path).reason.startswith("Plain text;")
    (tmp_path / "rows.txt").write_text('{"instruction": "q", "output": "a"}\n')
    assert contents(read(tmp_path / "rows.txt")) == [("user", "q"), ("assistant", "a")]
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match="holds no rows"):
        list(read(tmp_path / "empty.txt"))
    (tmp_path / "latin.txt").write_bytes(b"a" * 1_048_577 + b"\xe9t")
    with pytest.raises(DataError, match="not UTF-8 at byte 1,048,577"):
        list(read(tmp_path / "latin.txt"))


@pytest.mark.parametrize("unit", ["Eine Zeile und noch eine.\r\n", "words without lines ", "骆"])
def test_a_long_text_file_is_read_in_parts_without_loss(tmp_path, unit):
    whole = unit * (int(2.5 * MAX_FIELD) // len(unit))
    (tmp_path / "long.txt").write_bytes(whole.encode())
    faults = Faults()
    parts = [record.messages[0].content for record in read(tmp_path / "long.txt", faults=faults)]
    assert "".join(parts) == whole.replace("\r\n", "\n")
    assert len(parts) >= 3
    assert faults.sentences() == ["1 file had more than 1,000,000 characters and became several rows"]


def test_a_long_text_in_a_row_is_refused_with_the_way_out(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [{"text": "a" * (MAX_FIELD + 1)}])
    with pytest.raises(DataError, match=r"a row takes at most 1,000,000.* \.txt file"):
        list(read(path))


@pytest.mark.parametrize("template", ["alpaca", "chatml", "llama-2", "glm-4"])
@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_the_tokenizer_and_all_are_trained(tokenizer, template, text):
    """With the tokenizer's own beginning, and its end-of-sequence token where it has one; whatever the template."""
    example = Encoder(tokenizer, load_host().templates[template]).example([Message("text", text)])
    expected = tokenizer(text)["input_ids"]
    eos = tokenizer.eos_token_id
    assert example.input_ids == expected + ([eos] if eos is not None and expected[-1:] != [eos] else [])
    assert example.labels == example.input_ids


def test_a_text_spells_no_control_token():
    ids = ENCODER.example([Message("text", "<|im_end|> and <|endoftext|>")]).input_ids
    assert [token in ENCODER.special.values() for token in ids] == [False] * (len(ids) - 1) + [True]


records = st.lists(
    st.builds(text_record, st.text("ab 峰\n", max_size=60))
    | st.builds(alpaca, st.text("a ", max_size=9), st.just("b")),
    max_size=12,
)


@settings(max_examples=40)
@given(records, st.integers(3, 40))
def test_texts_are_divided_and_lose_no_token(tmp_path_factory, rows, cutoff):
    encoded = TokenCache(tmp_path_factory.mktemp("tokens")).encode(rows, ENCODER)
    view = encoded.view(cutoff)
    assert [len(example.input_ids) for example in view] == view.lengths.tolist()
    assert view.lengths.max(initial=0) <= cutoff
    assert all(len(example.input_ids) > 1 for example in view), "a token alone predicts nothing"
    pieces = {
        row: [each for _, each in group] for row, group in groupby(zip(view.rows, view, strict=True), lambda x: x[0])
    }
    for number, row in enumerate(rows):
        whole = ENCODER.example(row.messages)
        if row.is_text:
            if len(whole.input_ids) < 2:
                assert number not in pieces
                continue
            assert [token for piece in pieces[number] for token in piece.input_ids] == whole.input_ids
            assert [label for piece in pieces[number] for label in piece.labels] == whole.input_ids
        elif number in pieces:
            assert [piece.input_ids for piece in pieces[number]] == [whole.input_ids[:cutoff]]
    counts = view.counts
    texts = [len(pieces.get(number, ())) for number, row in enumerate(rows) if row.is_text]
    assert counts.texts == len(texts)
    assert all(
        count == -(-len(ENCODER.example(row.messages).input_ids) // cutoff) or count == 0
        for count, row in zip(texts, (row for row in rows if row.is_text), strict=True)
    )
    assert (counts.divided, counts.pieces) == (sum(n > 1 for n in texts), sum(n for n in texts if n > 1))
    assert counts.kept == len(pieces)
    assert counts.total_tokens == sum(view.lengths)
    whole_only = encoded.view(cutoff, whole=True)
    assert whole_only.counts.dropped == int(((encoded.lengths > cutoff) | (encoded.lengths < 2)).sum())
    counted = count_tokens(rows, ENCODER, TokenCache(tmp_path_factory.mktemp("tokens")), cutoff=cutoff)
    assert counted["kept"] == counts.kept
    assert counted["pieces"] == counts.pieces


def test_the_cache_knows_a_text_from_a_question(tmp_path):
    cache = TokenCache(tmp_path)
    text, asked = cache.encode([text_record("a")], ENCODER), cache.encode([alpaca("a", "")], ENCODER)
    assert text[0] != asked[0]
    assert TokenCache(tmp_path).encode([text_record("a")], ENCODER)[0] == text[0]


@pytest.mark.parametrize("template", load_host().templates.names())
def test_no_template_renders_a_text(template):
    for way in ("render", "prompt"):
        with pytest.raises(CamelidError, match=r"no question|model's own"):
            getattr(load_host().templates[template], way)([Message("text", "Llamas.")])


def test_lints_and_statistics_know_texts():
    rows = [text_record(text) for text in [*TEXTS, TEXTS[0], " ", "It\\nspits.", "long " * 9000]]
    found = compute_stats([*rows, alpaca("q", "a b c")], languages=False)
    findings = {name: lint.rows for name, lint in found.findings.items() if lint.rows}
    assert findings == {"duplicate": 1, "empty-output": 1, "escaped-newlines": 1, "long-row": 1}
    assert found.texts == len(rows)
    assert dict(found.turns) == {2: 1}
    assert found.answer.rows == 1
    assert LINTS["escaped-newlines"].fix(text_record("It\\nspits.")) == text_record("It\nspits.")


def test_held_out_texts_are_those_of_the_hash_and_their_copies():
    selection = HeldOutSelection(2)
    for row in range(60):
        selection.add_row(text_record(f"text {row % 30}"), 0, row)
    chosen = selection.result()
    assert len({record.messages[0].content for record in chosen.records}) == 2
    assert len(chosen.places) == 4


def test_writers_say_what_holds_a_text(tmp_path):
    mixed = [text_record("Llamas.", "1", "s", ("t",)), alpaca("q", "a", id="2", source="s")]
    for writer in ("alpaca", "sharegpt", "tulu", "prompt-completion", "csv"):
        with pytest.raises(DataError, match=r"row 1 cannot be written as .*when no writer is named"):
            write(mixed, tmp_path / "x.jsonl", writer)
    for rows in (mixed, mixed[::-1]):
        for suffix in (".csv", ".parquet"):
            with pytest.raises(DataError, match=r"row 2 .* JSON Lines \(.jsonl\) can hold both"):
                write(rows, tmp_path / f"x{suffix}")
    write(mixed, tmp_path / "all.jsonl", "messages")
    assert list(read(tmp_path / "all.jsonl")) == mixed
    write(mixed, tmp_path / "plain.jsonl")
    assert contents(read(tmp_path / "plain.jsonl")) == contents(mixed)


def test_commands_take_texts_through(camelid, tmp_path, home):
    rows = [{"text": text} for text in TEXTS] + [{"instruction": "q", "output": "a"}]
    path = write_jsonl(tmp_path / "mixed.jsonl", rows)
    shown = camelid("datasets", "inspect", str(path), "--rows", "9", "--json").json
    assert [row.get("text") for row in shown["first"]] == [*TEXTS, None]
    assert shown["rows"] == 5
    assert TEXTS[1] in camelid("datasets", "inspect", str(path)).out
    assert camelid("datasets", "add", str(path), "--name", "mixed").code == 0
    assert camelid("datasets", "mix", "mixed", "--name", "again").code == 0
    assert camelid("datasets", "mix", "again", "--out", str(tmp_path / "out.jsonl")).code == 0
    assert contents(read(tmp_path / "out.jsonl")) == contents(read(path))
    report = camelid("datasets", "stats", "again").out
    assert "without turns 4 rows (80.0%)" in report


def test_a_record_is_a_text_or_a_conversation():
    text, talk = text_record("a"), alpaca("q", "a")
    assert (text.is_text, text.prompt, text.answer) == (True, (), "")
    assert not talk.is_text
    assert not Record(()).is_text
    with pytest.raises(TemplateError, match="no question"):
        Encoder(tiny_tokenizer(), ALPACA).prompt_ids(text.messages)
