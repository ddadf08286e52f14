"""Every form of file: tables and Parquet beside JSON, what is no data file, strict and lenient, bounded memory."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from camelid_core.errors import DataError, MissingPackage
from camelid_core.readers import SUFFIXES, Faults, detect, json_array, read, rows
from camelid_core.records import alpaca
from camelid_core.writers import write_alpaca
from hypothesis import given
from hypothesis import strategies as st

ROW = {"instruction": "a", "output": "b"}
LINE = json.dumps(ROW)


@pytest.fixture
def file(tmp_path):
    def write(content: bytes | str, name: str):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def answers(path, faults=None):
    return [record.answer for record in read(path, faults=faults)]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ['"', "a,b", "\t", "\n", "\r\n", "\u2028", ";", "'", '"",']
)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=5), st.sampled_from(",;\t|"), st.booleans())
def test_every_table_that_can_be_written_is_read(tmp_path_factory, table, delimiter, mark):
    path = tmp_path_factory.mktemp("t") / "x.csv"
    with path.open("w", encoding="utf-8-sig" if mark else "utf-8", newline="") as out:
        csv.writer(out, delimiter=delimiter).writerows([("instruction", "input", "output"), *table])
    expected = [dict(zip(("instruction", "input", "output"), row, strict=True)) for row in table]
    assert list(rows(path)) == list(enumerate(expected, 1))


def test_a_cell_may_go_over_lines_and_a_carriage_return_ends_one(file):
    assert answers(file('instruction,output\na,"b\nc"\r\n\r\nd,e', "x.csv")) == ["b\nc", "e"]
    assert answers(file("instruction,output\ra,b\rc,d\r", "x.csv")) == ["b", "d"]
    assert answers(file("instruction\toutput\na\tb, c\n", "x.tsv")) == ["b, c"]


TABLE = "instruction,output\na,b\n"
FAULTS = {
    "too many cells": (
        TABLE + "\n1,2,3\n",
        r"row 2 \(line 4\): 3 cells where the header has 2 \(instruction, output\)",
    ),
    "too few cells": (TABLE + 'x,"1\n2"\nx\n', r"row 3 \(line 5\): 1 cell where the header has 2"),
    "quote not closed": (TABLE + 'x,"y\nz\n', "line 3: a quote is opened and the file ends before it is closed"),
    "not utf-8": (TABLE.encode() + b"c,\xff\n", r"line 3: not UTF-8 at byte 2 \(25 of the file\)"),
    "nul": (TABLE + "c,\0\n", r"row 2 \(line 3\), 'output': the text holds a NUL"),
    "column twice": ("output,instruction,output\n", "line 1: two columns are called 'output'; rename one"),
    "unknown columns": ("x,y\n1,2\n", r"row 1 \(line 2\): no known format; the keys are \['x', 'y'\]"),
    "utf-16": (TABLE.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    "utf-16 without a mark": (TABLE.encode("utf-16-le"), "holds NUL bytes from the start, as UTF-16 does"),
    "only a header": ("instruction,output\n", "holds no rows"),
    "nothing": ("", "holds no rows"),
}


@pytest.mark.parametrize(("content", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_fault_in_a_table_is_named_by_its_line(file, content, sentence):
    with pytest.raises(DataError, match=rf"^x\.csv.*{sentence}"):
        answers(file(content, "x.csv"))


def test_a_quote_that_is_not_closed_does_not_swallow_the_file(file):
    path = file(TABLE + 'x,"y\n' + "c,d\n" * 300_000 + "e,f\n", "x.csv")
    with pytest.raises(DataError, match="line 3: a cell goes on for over 1,000,000 characters, to line 25"):
        answers(path)
    faults = Faults(strict=False)
    found = answers(path, faults)
    assert faults.total == 1
    assert len(found) > 40_000
    assert found[-1] == "f"


def test_lenient_leaves_out_what_is_wrong_and_counts_it(file):
    lines = [LINE, "{", LINE, "[1]", '{"instruction": "\\ud800", "output": ""}', '{"x": 1}', '{"a": 1, "a": 2}', LINE]
    for content, name in (("\n".join(lines), "x.jsonl"), ("\n".join(lines) + '\n{"instruction": "\xff', "y.jsonl")):
        faults = Faults(strict=False, keep=2)
        assert answers(file(content, name), faults) == ["b"] * 3
        assert faults.total == len(content.split("\n")) - 3
        assert len(faults.examples) == 2
        assert faults.examples[0].startswith(f"{name}, line 2, column 2: Expecting property name")
    assert faults.counts == {
        "not_json": 3,
        "no_object": 1,
        "bad_character": 1,
        "unknown_format": 1,
    }


def test_lenient_goes_on_in_an_array_wherever_its_end_is_known(file):
    values = [LINE, "1", '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": ' + "1" * 5000 + "}", '{"a": 1e999}', LINE]
    faults = Faults(strict=False)
    assert answers(file("[" + ",\n".join(values) + "]", "x.json"), faults) == ["b", "b"]
    assert faults.counts == {"no_object": 1, "not_json": 4}
    assert faults.examples[1] == "x.json, row 3 (line 3): NaN is no JSON value"
    with pytest.raises(DataError, match=r"row 2 \(line 1, column 39\): Expecting value"):
        answers(file(f"[{LINE}, ]", "x.json"), Faults(strict=False))


def test_lenient_goes_on_in_a_table(file):
    content = TABLE.encode() + b"1,2,3\n\xff,x\nc,d\n" + b'"' + b"x" * 1_000_001 + b'",y\ne,f\n'
    faults = Faults(strict=False)
    assert answers(file(content, "x.csv"), faults) == ["b", "d", "f"]
    assert faults.counts == {"ragged_row": 1, "not_utf8": 1, "bad_table": 1}


def test_a_line_that_is_too_long_is_passed_over_whole(tmp_path):
    path = tmp_path / "x.jsonl"
    with path.open("w") as out:
        out.write(LINE + '\n{"instruction": "' + "x" * 40_000_000 + f'", "output": "y"}}\n{LINE}\n')
    faults = Faults(strict=False)
    assert answers(path, faults) == ["b", "b"]
    assert faults.counts == {"too_long": 1}


def test_a_file_of_which_nothing_is_left_is_empty(file):
    with pytest.raises(
        DataError, match=r"x\.jsonl holds no rows that can be read; 2 were left out: x\.jsonl, line 1"
    ) as e:
        answers(file("{\n{\n", "x.jsonl"), Faults(strict=False))
    assert e.value.kind == "dataset_empty"


def test_a_column_that_changes_its_type_is_found_where_it_does(tmp_path):
    path = tmp_path / "x.jsonl"
    with path.open("w") as out:
        out.writelines(f"{LINE}\n" for _ in range(20_000))
        out.write('{"instruction": "a", "output": 1}\n' + f"{LINE}\n" * 10)
    found = read(path)
    with pytest.raises(DataError, match="line 20001, 'output': expected text, not '1'"):
        for count, _ in enumerate(found, 1):  # noqa: B007
            pass
    assert count == 20_000


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (b"BZh91AY", "is compressed by bzip2 or xz; unpack it"),
        (b"PK\x03\x04", "is a zip archive or an Excel file"),
        (b"SQLite format 3\0", "is a database"),
        (b"ARROW1\0\0", "is an Arrow file; save it as Parquet"),
    ],
)
def test_what_is_no_data_file_says_what_to_do(file, start, sentence):
    for look in (answers, detect):
        with pytest.raises(DataError, match=rf"^x\.jsonl {sentence}"):
            look(file(start + b"abc", "x.jsonl"))


def test_what_is_no_file_of_a_person_is_not_read():
    for path in ("/proc/self/environ", "/dev/null"):
        with pytest.raises(DataError, match=rf"^'{path}' is no data file\.$"):
            list(rows(Path(path)))


COMPRESSIONS = {".gz": gzip.compress, ".zst": lambda content: pyarrow.compress(content, codec="zstd", asbytes=True)}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", json.dumps([ROW] * 3)), ("x.jsonl", f"{LINE}\n" * 3), ("x.csv", TABLE),
        ("x.tsv", "\ufeffinstruction\toutput\n" + "a\tb\n" * 3), ("x.tsv", "What?\tb\tc\n" * 3),
    ],
)  # fmt: skip
def test_a_compressed_file_is_read_as_what_it_holds(file, suffix, name, content):
    packed = file(COMPRESSIONS[suffix](content.encode()), name + suffix)
    plain = file(content, name)
    assert list(read(packed)) == list(read(plain))
    assert (detect(packed).reader, detect(packed).sample) == (detect(plain).reader, detect(plain).sample)
    cut = file(packed.read_bytes()[:-6], "cut-" + packed.name)
    with pytest.raises(DataError, match=rf"cut-{name}{suffix}' cannot be read: "):
        answers(cut)


def test_what_is_compressed_twice_says_so(file):
    with pytest.raises(DataError, match=r"^x\.json\.gz is compressed twice; unpack it first\."):
        answers(file(gzip.compress(gzip.compress(b"[]")), "x.json.gz"))


def test_a_place_in_a_compressed_file_is_that_of_its_text(file):
    content = f"{LINE}\n".encode() + b'{"instruction": "\xff", "output": "b"}\n'
    for suffix, compress in COMPRESSIONS.items():
        with pytest.raises(DataError, match=rf"line 2: not UTF-8 at byte 17 \({len(LINE) + 18} of the file\)"):
            answers(file(compress(content), f"x.jsonl{suffix}"))


def test_parquet_is_not_compressed_once_more(parquet):
    path = parquet(pyarrow.table({"instruction": ["a"], "output": ["b"]}))
    packed = path.with_name("x.parquet.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"^x\.parquet\.gz is Parquet that was compressed once more; unpack it first\."):
        answers(packed)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3), min_size=1), min_size=1, max_size=4),
    st.sampled_from(json_array.LIST_KEYS),
    st.sampled_from([None, 2]),
    st.sampled_from([".json", ".jsonl", ".txt"]),
)
def test_the_rows_of_an_object_are_those_of_its_list(tmp_path_factory, values, key, indent, suffix):
    path = tmp_path_factory.mktemp("data") / f"x{suffix}"
    path.write_text(json.dumps({"version": 1.5, "by": 'a "b"', key: values, "more": {"data": [1]}}, indent=indent))
    faults = Faults()
    assert list(rows(path, faults)) == list(enumerate(values, 1))
    assert faults.sentences() == [f"3 keys of the file beside '{key}' were not read: 'version', 'by', 'more'"]


def test_lines_that_each_hold_a_list_stay_lines(file):
    line = json.dumps({"data": [ROW]})
    assert list(rows(file(f"{line}\n{line}\n", "x.jsonl"))) == [(1, {"data": [ROW]}), (2, {"data": [ROW]})]


@pytest.mark.parametrize("content", ['{"data": [{"a": 1}]', '{"data": [{"a": 1}]} x', '{"data": [{"a": 1}], "b" 2}'])
def test_an_object_that_is_not_closed_is_a_fault(file, content):
    with pytest.raises(DataError, match=r"x\.json, row 1 "):
        list(rows(file(content, "x.json")))


def test_one_object_over_several_lines_gets_a_hint(file):
    with pytest.raises(DataError, match="call its list of rows 'data', or keep only that list"):
        answers(file(json.dumps({"faq": [ROW]}, indent=2), "x.json"))


@pytest.mark.parametrize("delimiter", ",;\t|:")
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_line_by_which_excel_names_the_separator_is_no_header(file, delimiter, ending):
    for sep in (f"sep={delimiter}", f'"sep={delimiter}"'):
        lines = [sep, delimiter.join(("instruction", "output")), delimiter.join((f'"a{delimiter}b"', "c"))]
        path = file(ending.join(lines), "x.csv")
        assert [row for _, row in rows(path)] == [{"instruction": f"a{delimiter}b", "output": "c"}]
        assert detect(path).fits


@pytest.fixture
def parquet(tmp_path):
    def write(table, name="x.parquet", **options):
        path = tmp_path / name
        pyarrow.parquet.write_table(table, path, **options)
        return path

    return write


def test_parquet_is_read_whatever_its_columns_hold(parquet):
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    table = pyarrow.Table.from_pylist([{"messages": chat, "n": 1, "when": None}] * 3)
    assert answers(parquet(table)) == ["a"] * 3
    assert answers(parquet(table, "named.bin")) == ["a"] * 3
    assert [number for number, _ in rows(parquet(table))] == [1, 2, 3]


def test_faults_in_parquet_are_named_by_row(parquet, file):
    table = pyarrow.Table.from_pylist([ROW, ROW, {"instruction": "a", "output": "\0"}])
    with pytest.raises(DataError, match=r"x\.parquet, row 3, 'output': the text holds a NUL"):
        answers(parquet(table))
    whole = parquet(pyarrow.table({"instruction": ["a"] * 9, "output": ["b"] * 9})).read_bytes()
    for cut in (whole[:-20], whole[:40], b"PAR1"):
        with pytest.raises(DataError, match=r"^cut\.parquet, behind row 0: "):
            answers(file(cut, "cut.parquet"))
    assert answers(file(LINE, "named.parquet")) == ["b"]
    bytes_column = pyarrow.table({"instruction": [b"\xff"], "output": ["b"]})
    with pytest.raises(DataError, match="row 1, 'instruction': expected text, not"):
        answers(parquet(bytes_column))


def test_a_row_of_parquet_that_is_too_long_is_left_out_alone(parquet):
    path = parquet(pyarrow.table({"instruction": ["a", "x" * 17_000_000, "a"], "output": ["b"] * 3}))
    with pytest.raises(DataError, match=r"x\.parquet, row 2: longer than 16,000,000 bytes"):
        answers(path)
    assert answers(path, Faults(strict=False)) == ["b", "b"]


def test_a_row_of_parquet_is_as_long_as_its_own_texts_wherever_these_lie(parquet):
    texts = pyarrow.array([f"{number} " + "x" * 900_000 for number in range(20)])
    table = pyarrow.table({"instruction": ["a"] * 20, "output": texts.dictionary_encode()})
    assert [len(answer) for answer in answers(parquet(table, dictionary_pagesize_limit=1 << 30))] == [
        len(each.as_py()) for each in texts
    ]


@pytest.mark.parametrize("kept", [True, False], ids=["as a dictionary", "as texts"])
def test_a_text_that_parquet_has_once_for_many_rows_is_not_held_once_for_each(parquet, kept):
    column = pyarrow.DictionaryArray.from_arrays([0] * 400, ["x" * 900_000])
    table = pyarrow.table({"instruction": ["a"] * 400, "output": column})
    path = parquet(table, dictionary_pagesize_limit=1 << 30, store_schema=kept)
    usual = pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(usual)
    pyarrow.set_memory_pool(pool)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(path)) == 400
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pyarrow.set_memory_pool(usual)
    assert pool.max_memory() + peak < 300_000_000  # spelled out, they are 360 MB


def test_a_value_that_python_has_not_is_a_fault_of_its_row(parquet):
    when = pyarrow.array([1, 1 << 62, 1], pyarrow.timestamp("us"))
    path = parquet(pyarrow.table({"instruction": ["a"] * 3, "output": ["b"] * 3, "when": when}))
    with pytest.raises(DataError, match=r"^x\.parquet, row 2, 'when': date value out of range\.$"):
        answers(path)
    assert answers(path, Faults(strict=False)) == ["b", "b"]


def test_columns_of_parquet_are_looked_at_once_however_many_there_are(parquet):
    path = parquet(
        pyarrow.table({"instruction": ["a"], "output": ["b"]} | {f"column {number}": [1] for number in range(2000)})
    )
    file = pyarrow.parquet.ParquetFile(path)
    began = time.perf_counter()
    assert len(file.schema_arrow.names) == len(ROW) + 2000
    look = time.perf_counter() - began
    began = time.perf_counter()
    assert answers(path) == ["b"]
    assert time.perf_counter() - began < 1 + 400 * look


def test_without_pyarrow_parquet_says_what_to_install(parquet, monkeypatch):
    path = parquet(pyarrow.Table.from_pylist([ROW]))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingPackage, match=r'pip install "camelid-core\[data\]"'):
        answers(path)


def test_every_suffix_is_read(file, parquet):
    contents = {".csv": TABLE, ".tsv": "instruction\toutput\na\tb", ".tab": "instruction\toutput\na\tb"}
    for suffix in set(SUFFIXES) - {".parquet"}:
        assert answers(file(contents.get(suffix, LINE), f"x{suffix.upper()}")) == ["b"]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    count = 12_000
    path = tmp_path / f"x{suffix}"
    write_alpaca((alpaca(f"question {number} " + "x" * 400, "y" * 400) for number in range(count)), path)
    records = read(path)
    next(records)
    tracemalloc.start()
    try:
        assert sum(1 for _ in records) == count - 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000  # the rows have 10 MB
