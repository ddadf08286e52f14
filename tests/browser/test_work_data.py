"""The Data page as a person uses it: look, add, map, cut off, check, mix.

By its name it runs after `test_work`, which wants to see a first run. Each test makes what it needs.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from camelid_core.testing import write_jsonl
from playwright.sync_api import Page, expect

NARROW = {"width": 375, "height": 812}
TRACEBACK = re.compile('Traceback|File "/')
ODD = """Question Text,Notes,Model Answer,Topic
"What is 2 + 2?",,It is four.,maths
"Name a colour.",x,Blue is one.,general
"What is 3 + 3?",,It is six.,maths
"""


def pick(page: Page, ident: str, value: str) -> None:
    """Take one of a dropdown's choices."""
    page.locator(f"#{ident} input").click()
    page.get_by_role("option", name=value, exact=True).first.click()


def fill(page: Page, ident: str, value: str) -> None:
    page.locator(f"#{ident} input, #{ident} textarea").first.fill(value)
    page.keyboard.press("Tab")


def add(page: Page, path: Path, name: str) -> None:
    page.locator("#data-add").click()
    fill(page, "data-path", str(path))
    expect(page.locator("#data-preview .turn").first).to_be_visible()
    fill(page, "data-name", name)
    page.locator("#data-add-button").click()
    expect(page.locator("#data-head h2")).to_have_text(name)


def shoot_both(eyes, page: Page, name: str) -> None:
    """Wide, then narrow; the page is left narrow."""
    eyes.shoot(page, f"{name}-wide")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(500)
    eyes.shoot(page, f"{name}-narrow")


@pytest.fixture(scope="module")
def dirty(tmp_path_factory) -> Path:
    rows = [{"instruction": f"What is {n} plus {n}?", "input": "", "output": f"It is {2 * n}."} for n in range(30)]
    rows += rows[:5]
    rows += [{"instruction": f"Say {n} in words.", "input": "", "output": ""} for n in range(3)]
    rows += [
        {"instruction": f"Greet {n} people.", "input": "", "output": "Hello all! #greeting #hello"} for n in range(4)
    ]
    return write_jsonl(tmp_path_factory.mktemp("files") / "dirty.jsonl", rows)


def test_the_collection_is_searched_narrowed_and_says_what_to_fetch(eyes):
    page = eyes.open("?tab=data")
    expect(page.locator("#data-tokens .tok").first).to_be_visible()
    every = page.locator("#data-list li")
    expect(every.first).to_be_visible()
    total = every.count()
    chip = page.locator("#data-chips button", has_text="Chinese")
    chip.click()
    expect(page.locator("#data-chips button[aria-pressed=true]")).to_have_count(1)
    expect(every).to_have_count(int(chip.locator("small").inner_text()))
    assert every.count() < total
    chip.click()
    expect(every).to_have_count(total)
    fill(page, "data-search", "alpaca-gpt4")
    page.locator("#data-list a[data-key='alpaca-gpt4']").click()
    expect(page.locator("#data-head h2")).to_have_text("alpaca-gpt4")
    expect(page.locator("#data-missing code")).to_contain_text("camelid datasets fetch alpaca-gpt4")
    expect(page.locator("#data-use")).to_be_disabled()
    expect(page.locator("#data-rows")).to_be_hidden()
    page.locator("#data-fetch").click()
    expect(page.locator("#data-fetching .camelid-error")).to_contain_text("The Hub is not asked")
    shoot_both(eyes, page, "data-fetch")


def test_a_row_is_found_by_its_number(eyes):
    page = eyes.open("?tab=data&data=cot-arithmetic-en")
    expect(page.locator("#data-rows tr.chosen td").first).to_have_text("1")
    page.locator("#data-goto input, #data-goto textarea").first.fill("2345")
    page.keyboard.press("Enter")
    expect(page.locator("#data-rows tr.chosen td").first).to_have_text("2\u202f345")
    assert "row=2344" in page.url
    page.locator("#data-goto input, #data-goto textarea").first.fill("99999")
    page.keyboard.press("Enter")
    expect(page.locator("#data-where .camelid-error")).to_contain_text("no row 99999")
    page.locator("#data-back").click()
    expect(page.locator("#data-where")).to_contain_text("2\u202f335–2\u202f340")


def test_a_bad_file_is_refused_beside_the_field_that_names_it(eyes, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"instruction": "a", "output": "b"}\n{"instruction": "a", "outptu": "b"}\n')
    page = eyes.open("?tab=data&room=add")
    fill(page, "data-path", "/nowhere/rows.jsonl")
    expect(page.locator("#data-detected .camelid-error")).to_contain_text("no file on this machine")
    fill(page, "data-path", str(bad))
    expect(page.locator("#data-preview .camelid-error")).to_contain_text("bad.jsonl, line 2")
    page.locator("#data-add-button").click()
    expect(page.locator("#data-add-notice .camelid-error")).to_contain_text("bad.jsonl, line 2")
    expect(page.locator("body")).not_to_contain_text(TRACEBACK)
    shoot_both(eyes, page, "data-failed")
    page.get_by_label("Skip and count").check()
    expect(page.locator("#data-preview .camelid-warn")).to_contain_text("1 of the first rows")
    fill(page, "data-name", "half")
    page.locator("#data-add-button").click()
    expect(page.locator("#data-notice")).to_contain_text("1 were skipped")
    expect(page.locator("#data-head h2")).to_have_text("half")


def test_a_file_is_added_used_and_removed(eyes, questions):
    page = eyes.open("?tab=data")
    page.locator("#data-add").click()
    page.locator("#data-file input[type=file]").set_input_files(str(questions))
    expect(page.locator("#data-detected")).to_contain_text("Alpaca")
    expect(page.locator("#data-preview .turn")).to_have_count(6)
    shoot_both(eyes, page, "data-adding")
    fill(page, "data-name", "sums")
    page.locator("#data-add-button").click()
    expect(page.locator("#data-notice")).to_contain_text("12 rows")
    expect(page.locator("#data-head h2")).to_have_text("sums")
    expect(page.locator("#data-list li").first).to_contain_text("sums")
    page.locator("#data-use").click()
    expect(page.locator("#train-command code")).to_contain_text("data.sources=")
    page.locator("#tab-data-button").click()
    page.locator("#data-remove").click()
    page.locator("#data-remove-yes").click()
    expect(page.locator("#data-head h2")).not_to_have_text("sums")


def test_columns_of_any_name_are_mapped_into_a_set(eyes, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(ODD)
    page = eyes.open("?tab=data&room=add")
    fill(page, "data-path", str(path))
    expect(page.locator("#data-detected")).to_contain_text("Column mapping")
    expect(page.locator("#data-mapping")).to_be_visible()
    pick(page, "data-role-instruction", "Question Text")
    pick(page, "data-role-output", "Model Answer")
    expect(page.locator("#data-preview")).to_contain_text("It is four.")
    shoot_both(eyes, page, "data-mapping")
    fill(page, "data-name", "odd")
    page.locator("#data-add-button").click()
    expect(page.locator("#data-notice")).to_contain_text("3 rows")
    expect(page.locator("#data-rows")).to_contain_text("Blue is one.")


def test_the_cut_off_is_dragged_typed_and_stepped_and_counts_follow(eyes):
    page = eyes.open("?tab=data&data=cot-arithmetic-en")
    line = page.locator("#data-histogram .cutline")
    expect(page.locator("#data-cut .camelid-facts")).to_contain_text("100.0 %")
    whole = page.locator("#data-cut").inner_text()
    fill(page, "data-cutoff", "40")
    expect(page.locator("#data-cut .camelid-error")).to_contain_text("refuses to start")
    expect(line).to_have_attribute("aria-valuenow", "40")
    expect(page.locator("#data-tokens .cutmark")).to_contain_text("40")
    line.scroll_into_view_if_needed()
    box = page.locator("#data-histogram .plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=5)
    page.mouse.up()
    dragged = int(line.get_attribute("aria-valuenow"))
    assert dragged > 40
    expect(page.locator("#data-cutoff input")).to_have_value(str(dragged))
    expect(page.locator("#data-cut .camelid-error")).to_have_count(0)
    assert page.locator("#data-cut").inner_text() != whole
    page.keyboard.press("ArrowRight")
    expect(page.locator("#data-cutoff input")).to_have_value(str(dragged + 8))
    page.locator("#data-count-all").click()
    expect(page.locator("#data-histogram figcaption")).to_contain_text("all 4\u202f000 rows", timeout=300_000)
    expect(page.locator("#data-count-all")).to_be_hidden()
    expect(page.locator("#data-cache-line")).to_contain_text(re.compile("Token cache: [0-9.]+ [kM]B"))
    shoot_both(eyes, page, "data-lengths")


def test_what_checks_find_is_dropped_into_a_new_version(eyes, dirty):
    page = eyes.open("?tab=data")
    add(page, dirty, "dirty")
    found = page.locator("#data-lints .camelid-findings > li")
    empty = found.filter(has_text="Empty answer")
    expect(empty.locator(".number")).to_contain_text("3")
    empty.locator(".examples a").first.click()
    expect(page.locator("#data-rows tr.chosen td").first).to_have_text("36")
    expect(page.locator("#data-write")).to_be_disabled()
    empty.get_by_text("Drop", exact=True).click()
    found.filter(has_text="Duplicate of an earlier row").get_by_text("Drop", exact=True).click()
    found.filter(has_text="Hashtags").get_by_text("Fix", exact=True).click()
    expect(page.locator("#data-lints-plan")).to_contain_text("dirty-v2")
    shoot_both(eyes, page, "data-lints")
    page.locator("#data-write").click()
    expect(page.locator("#data-version-notice")).to_contain_text("Wrote dirty-v2: 34 of 42 rows")
    expect(page.locator("#data-version-notice")).to_contain_text("4 rows fixed")
    page.locator("#data-list a[data-key='dirty-v2']").click()
    expect(page.locator("#data-head h2")).to_have_text("dirty-v2")
    expect(page.locator("#data-head")).to_contain_text("--fix trailing-hashtags")
    page.locator("#data-head a[data-key='dirty']").click()
    expect(page.locator("#data-head h2")).to_have_text("dirty")
    expect(page.locator("#data-where")).to_contain_text("of 42")


def test_a_mix_is_weighed_used_in_training_and_saved(eyes):
    page = eyes.open("?tab=data&data=cot-arithmetic-en")
    expect(page.locator("#data-head h2")).to_have_text("cot-arithmetic-en")
    page.locator("#data-to-mix").click()
    expect(page.locator("#mix-sources li")).to_have_count(1)
    pick(page, "mix-pick", "cot-arithmetic-zh")
    expect(page.locator("#mix-sources li")).to_have_count(2)
    expect(page.locator("#mix-shares")).to_contain_text("50.0 %")
    page.get_by_label("Weight of cot-arithmetic-zh").fill("0.5")
    page.keyboard.press("Tab")
    expect(page.locator("#mix-shares")).to_contain_text("66.7 %")
    expect(page.get_by_label("Maximum rows of cot-arithmetic-zh")).to_be_focused()
    page.get_by_label("Maximum rows of cot-arithmetic-en").fill("1000")
    page.keyboard.press("Tab")
    expect(page.locator("#mix-shares")).to_contain_text("33.3 %")
    page.get_by_label("Exact duplicates").check()
    expect(page.locator("#mix-command code")).to_contain_text("--cap cot-arithmetic-en=1000 --dedupe exact")
    assert "mix=cot-arithmetic-en%2Ccot-arithmetic-zh%3A0.5" in page.url
    shoot_both(eyes, page, "data-mix")
    fill(page, "mix-name", "both")
    page.locator("#mix-save").click()
    expect(page.locator("#mix-notice")).to_contain_text("Saved both", timeout=300_000)
    expect(page.locator("#data-list a[data-key='both']")).to_be_visible()
    page.locator("#mix-use").click()
    command = page.locator("#train-command code")
    expect(command).to_contain_text("cot-arithmetic-zh:0.5")
    expect(command).to_contain_text("data.deduplicate=exact")
    expect(command).to_contain_text("cot-arithmetic-en")
    expect(command).to_contain_text("data.caps=")
    found = eyes.open(f"?{page.url.partition('?')[2]}&tab=data".replace("tab=train&", ""))
    expect(found.locator("#mix-sources li")).to_have_count(2)  # another browser shows the same mix


def test_the_token_cache_is_listed_and_emptied(eyes):
    page = eyes.open("?tab=data")
    page.locator("#data-cache > button").click()
    expect(page.locator("#data-cache-list tbody tr").first).to_be_visible()
    fill(page, "data-cache-days", "0")
    page.locator("#data-cache-prune").click()
    expect(page.locator("#data-cache-notice")).to_contain_text(re.compile("[1-9][0-9.]* [kM]B freed"))
    expect(page.locator("#data-cache-list")).to_contain_text("empty")


def test_dark_chinese_and_narrow(eyes):
    page = eyes.open("?tab=data&data=cot-arithmetic-en", color_scheme="dark")
    expect(page.locator("#data-cut .camelid-facts")).to_be_visible()
    eyes.shoot(page, "data-dark-wide")
    chinese = eyes.open("?tab=data&data=cot-arithmetic-zh", size=NARROW, locale="zh-CN")
    expect(chinese.locator("#data-cut .camelid-facts")).to_contain_text("保留的词元")
    expect(chinese.locator("#data-add")).to_have_text("添加数据")
    eyes.shoot(chinese, "data-chinese-narrow")
