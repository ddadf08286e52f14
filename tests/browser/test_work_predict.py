"""Batch predict with a table whose columns are mapped, answers to compare with, two models, and a broken row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.timeout(1800)  # whole flows, each in one go

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 375, "height": 812}
ROWS = 56
ON_A_PAGE = 50


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["Frage,right,topic", *(f"What is {n} + {n}?,The answer is {2 * n}.,sums" for n in range(1, ROWS))]
    path = tmp_path / "sums.csv"
    path.write_text("\n".join([*lines, "only one cell"]) + "\n", encoding="utf-8")
    return path


def pick(page: Page, ident: str, value: str) -> None:
    page.locator(f"#{ident} input").click()
    page.locator(f"#{ident} input").fill(value)  # others out of the way: the list moves as models come and go
    page.get_by_role("option", name=value, exact=True).first.click()


def test_columns_are_mapped_and_the_worst_come_first(eyes, table):
    page = eyes.open("?tab=predict")
    page.locator("#predict-file input[type=file]").set_input_files(str(table))
    expect(page.locator("#predict-preview")).to_contain_text("no row can be answered", timeout=300_000)
    expect(page.locator("#predict-start")).to_be_disabled()
    expect(page.locator("#predict-role-instruction")).to_be_visible()
    eyes.shoot(page, "predict-unmapped-wide")
    pick(page, "predict-role-instruction", "Frage")
    expect(page.locator("#predict-preview .camelid-tokens")).to_have_count(3)
    pick(page, "predict-reference", "right")
    expect(page.locator("#predict-preview")).to_contain_text(
        f"{ROWS - 1} rows have a reference answer to score against"
    )
    pick(page, "predict-model", "tiny")
    pick(page, "predict-also", "talker")
    page.keyboard.press("Escape")
    page.locator("#tab-predict .camelid-drawer > button").first.click()
    page.locator("#predict-sampling-max_new_tokens input").fill("8")
    page.keyboard.press("Tab")
    command = page.locator("#predict-command code")
    expect(command).to_contain_text("sampling.max_new_tokens=8")
    expect(command).to_contain_text("columns=instruction=Frage")
    eyes.shoot(page, "predict-mapped-wide")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)
    eyes.shoot(page, "predict-mapped-narrow")
    page.set_viewport_size(WIDE)

    page.locator("#predict-start").click()
    expect(page.locator("#predict-job .camelid-state.succeeded")).to_be_visible(timeout=300_000)
    rows = page.locator("#predict-rows tbody tr")
    expect(rows).to_have_count(ON_A_PAGE)
    expect(page.locator("#predict-job-body")).to_contain_text("talker: exact")
    page.locator("#predict-next").click()
    expect(rows).to_have_count(ROWS - ON_A_PAGE)
    expect(page.locator("#predict-where")).to_have_text(f"{ON_A_PAGE + 1}–{ROWS} of {ROWS}")
    expect(page.locator("#predict-next")).to_be_disabled()
    page.locator("#predict-showing").get_by_text("Worst first").click()
    expect(page.locator("#predict-where")).to_have_text(f"1–{ON_A_PAGE} of {ROWS - 1}")
    expect(rows.first).not_to_contain_text("Frage")
    page.locator("#predict-next").click()
    expect(rows).to_have_count(ROWS - 1 - ON_A_PAGE)
    eyes.shoot(page, "predict-worst-wide")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)
    eyes.shoot(page, "predict-worst-narrow")
    page.locator("#predict-showing").get_by_text("Failures").click()
    expect(rows).to_have_count(1)
    expect(page.locator("#predict-next")).to_be_hidden()
    expect(rows.first).to_contain_text("1 cell where the header has 3")
    eyes.shoot(page, "predict-failures-narrow")
    with page.expect_download() as download:
        page.locator("#predict-job-body .camelid-download").click()
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [set(line.get("generate", {})) for line in lines] == [{"tiny", "talker"}] * (ROWS - 1) + [set()]
