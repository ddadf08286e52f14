"""What Camelid expects of a plugin, and what the command line makes of this one."""

from __future__ import annotations

import json
import subprocess
import sys

import camelid_alpaca_cot
import pytest
from camelid_alpaca_cot.collection_table import load_collection
from camelid_core.cli import app
from camelid_core.plugins import Host, Plugin, load_host
from typer.testing import CliRunner


@pytest.fixture
def camelid():
    return lambda *arguments: CliRunner().invoke(app, ["datasets", *map(str, arguments)], catch_exceptions=False)


def listed(result):
    return json.loads(result.stdout)


def test_camelid_finds_it_and_it_is_sound():
    host = load_host()
    assert "camelid-alpaca-cot" in [plugin.name for plugin in host.plugins], "install it: pip install -e ."
    assert [problem for problem in host.problems if problem.plugin == "camelid-alpaca-cot"] == []
    given = host.provided_by("camelid-alpaca-cot")
    assert set(given) == {"camelid_datasets", "camelid_readers"}
    assert {row.name for row in load_collection().rows} <= set(given["camelid_datasets"])


def test_its_names_are_nobody_elses():
    host = Host()
    host.load([Plugin("camelid-alpaca-cot", "0", camelid_alpaca_cot)])
    assert host.check() == []


def test_loading_it_imports_nothing_heavy_and_reads_no_table():
    code = (
        "import sys; before = set(sys.modules); import camelid_alpaca_cot;"
        "print([name for name in set(sys.modules) - before if name.split('.')[0] in"
        " ('huggingface_hub', 'datasets', 'pyarrow', 'torch', 'tomllib', 'camelid_core.readers')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_list_has_the_31_rows_with_every_column(camelid):
    rows = [row for row in listed(camelid("list", "--json")) if row["collection"] == "alpaca-cot"]
    assert len(rows) == 31
    assert sum(row["nums"] or 0 for row in rows) == 93_353_725
    by_title = {row.title: row for row in load_collection().rows}
    for row in rows:
        published = by_title[row["title"]]
        assert row["dataset"] == published.name
        if published.nums:
            columns = (row["nums"], row["lang"], row["task"], row["gen"], row["type"], row["src"])
            assert columns == tuple(getattr(published, name) for name in ("nums", "lang", "task", "gen", "type", "src"))
        assert row["upstream"] == published.upstream
        assert row["url"].startswith("https://")


def test_the_nine_sets_are_listed(camelid):
    names = [row["dataset"] for row in listed(camelid("list", "--json"))]
    assert {f"cot-{part.name}" for part in load_collection().cot} <= set(names)


@pytest.mark.parametrize(
    ("option", "value", "some", "none"),
    [
        ("--lang", "CN", {"cot", "firefly"}, {"alpaca", "xp3"}),
        ("--lang", "zh", {"cot", "firefly"}, {"alpaca", "xp3"}),
        ("--lang", "ML", {"xp3", "guanaco"}, {"cot"}),
        ("--task", "ts", {"belle-cn", "hc3"}, {"alpaca"}),
        ("--gen", "HG", {"cot", "dolly-2.0"}, {"alpaca"}),
        ("--collection", "alpaca-cot", {"cot", "stackllama"}, {"cot-arithmetic", "csl"}),
        ("--collection", "alpaca-cot-later", {"csl"}, {"cot"}),
    ],
)
def test_filters_match_one_part_of_compound_values(camelid, option, value, some, none):
    names = {row["dataset"] for row in listed(camelid("list", option, value, "--json"))}
    assert some <= names
    assert not none & names


def test_the_chart_shows_relative_sizes_on_a_narrow_terminal(camelid, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = camelid("show", "alpaca-cot-collection").stdout
    assert "31 datasets, 93,353,725 rows." in " ".join(shown.split())
    assert all(len(line) <= 80 for line in shown.splitlines())
    bars = {line.split()[0]: line.count("█") for line in shown.splitlines() if "█" in line}
    assert bars["xp3"] > bars["natural-instructions"] > bars["alpaca"] > bars["gaokao"]
    assert camelid("list", "--collection", "alpaca-cot", "--chart").stdout == shown


def test_show_says_what_it_is_and_what_is_missing(camelid):
    shown = camelid("show", "code-alpaca")
    assert (shown.exit_code, shown.stdout) == (0, "")
    for text in ("20,022 rows", "cc-by-nc-4.0", "TS task-specific", "camelid datasets fetch", "@misc{alpaca-cot"):
        assert text in " ".join(shown.stderr.split())


def test_show_gives_first_rows_when_they_are_here(camelid, mirror, alpaca_file):
    path = mirror / "CodeAlpaca" / "code_alpaca.json"
    path.parent.mkdir()
    path.write_bytes(alpaca_file(9))
    shown = camelid("show", "code-alpaca", "--rows", 2)
    assert [json.loads(line)["id"] for line in shown.stdout.splitlines()] == ["1", "2"]
    assert str(path) in shown.stderr
    whole = listed(camelid("show", "code-alpaca", "--json"))
    assert (whole["missing"], whole["files"], len(whole["first"])) == ("", str(path), 3)


def test_fetch_prints_where_the_files_are(camelid, hub, home, alpaca_file):
    row = next(row for row in load_collection().rows if row.name == "dolly-2.0")
    hub.commit({"dolly/dolly.json": alpaca_file(4)}, row.revision)
    done = camelid("fetch", "dolly-2.0")
    assert done.stdout.strip() == str(home / "mirror" / "dolly" / "dolly.json")
    assert "MB of dolly/dolly.json" in done.stderr
    assert len(camelid("show", "dolly-2.0", "--rows", 9).stdout.splitlines()) == 4


def test_what_our_own_code_makes_has_nothing_to_fetch(camelid):
    with pytest.raises(ValueError, match=r"has nothing to fetch\. It is here\."):
        camelid("fetch", "cot-arithmetic")
