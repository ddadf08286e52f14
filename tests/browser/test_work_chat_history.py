"""What stands around a conversation: presets, suffixes, the history in the browser, files and judgements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from camelid_core.readers import read
from camelid_core.records import Record
from camelid_core.testing import write_jsonl
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.timeout(1800)  # whole flows, each in one go

NARROW = {"width": 375, "height": 812}
ASKED = "What is 2 + 3?\n先思考，再决定"
HOSTILE = "Hi.\n```\n</ul><img src=x onerror=alert(1)><script>alert(1)</script>"
ROWS = [
    {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello <b>you</b>?"},
            {"role": "assistant", "content": HOSTILE},
        ]
    },
    {
        "instruction": "What do llamas eat in the Andes, high up where little grows and the wind is cold?",
        "output": "Grass.",
    },
    {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]},
]


def pick(page: Page, ident: str, value: str) -> None:
    page.locator(f"#{ident} input").click()
    page.get_by_role("option", name=value, exact=True).first.click()


def saved(page: Page, ident: str) -> Path:
    with page.expect_download() as download:
        page.locator(f"#{ident}").click()
    return Path(download.value.path())


def judgements(server, name: str) -> list[Record]:
    found = read(server.home / "data" / f"{name}.jsonl")
    return [record for record in found if record.prompt[-1].content == ASKED]


@pytest.fixture
def _no_trace(server) -> Iterator[None]:
    yield
    for path in (server.home / "data").glob("chat-*.jsonl"):
        path.unlink()


@pytest.mark.usefixtures("_no_trace")
def test_conversations_are_kept_found_saved_and_judged(eyes, server, tmp_path):
    page = eyes.open()
    page.set_default_timeout(300_000)
    _opened_late(page)
    expect(page.locator("#chat-history .camelid-note")).to_contain_text("in this browser only")
    pick(page, "chat-model", "tiny")
    page.locator("#chat-load").click()
    expect(page.locator("#chat-status")).to_contain_text("tiny is ready", timeout=300_000)

    pick(page, "chat-preset", "firefly")
    expect(page.locator("#chat-preset-about")).to_contain_text("Firefly")
    page.locator(".camelid-aside .camelid-drawer > button").first.click()
    expect(page.locator("#sampling-repetition_penalty input")).to_have_value("1.2")
    page.locator("#sampling-max_new_tokens input").fill("6")
    page.keyboard.press("Tab")
    expect(page.locator("#chat-preset-about")).not_to_contain_text("Firefly")  # it is changed, and no preset any more
    page.locator(".camelid-aside .camelid-drawer > button").first.click()
    pick(page, "chat-system-preset", "Short answers")
    expect(page.locator("#chat-system textarea")).to_have_value("Answer in one or two sentences.")
    draft = page.locator("#chat-message textarea")
    draft.fill(ASKED.splitlines()[0])
    chip = page.locator("#chat-suffixes button", has_text="先思考")
    for wanted in (ASKED, ASKED.splitlines()[0], ASKED):
        chip.click()
        expect(draft).to_have_value(wanted)
    page.locator("#chat-send").click()
    listed = page.locator("#chat-history li")
    expect(listed).to_have_count(1)
    expect(listed).to_contain_text("What is 2 + 3? 先思考，再决定")

    page.locator("#chat-tuned [data-set=retry]").last.click()  # another try, and which is better
    page.locator("#chat-tuned [data-set=better]").click()
    expect(page.locator("#chat-notice")).to_contain_text("chat-preferences")
    (pair,) = judgements(server, "chat-preferences")
    assert [message.role for message in pair.prompt] == ["system", "user"]
    assert pair.rejected != pair.answer
    page.locator("#chat-tuned .thumb[aria-pressed=true]").click()
    expect(page.locator("#chat-notice")).to_contain_text("Feedback removed")
    assert [record.label for record in judgements(server, "chat-ratings")] == [False]

    head = saved(page, "history-md").read_text(encoding="utf-8")
    assert '"repetition_penalty": 1.2' in head
    assert 'model: "tiny"' in head
    page.locator("#history-new").click()
    expect(page.locator("#chat-tuned .bot")).to_have_count(0)
    _files(page, eyes, write_jsonl(tmp_path / "rows.jsonl", ROWS))
    _list(page, eyes)


def _opened_late(page: Page) -> None:
    """What a page is told when it is opened comes late, and takes back nothing that was chosen before."""
    late: list[Route] = []
    page.route("**/queue/join*", lambda route: late.append(route))
    page.get_by_role("tab", name="Chat").click()
    expect(page.locator("#chat-model input")).to_be_disabled()
    page.route("**/queue/join*", lambda route: route.continue_())
    for each in late:
        each.continue_()


def _files(page: Page, eyes, rows: Path) -> None:
    """Conversations come from a file and go into one as they were."""
    listed = page.locator("#chat-history li")
    with page.expect_file_chooser() as selectable:
        page.locator("#history-read").click()
    selectable.value.set_files(str(rows))
    expect(listed).to_have_count(3)
    expect(page.locator("#history-notice")).to_contain_text("Skipped, as they are no conversations: 1.")
    listed.locator(".open", has_text="Hello <b>you</b>?").click()
    expect(page.locator("#chat-tuned .bot")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("#chat-system textarea")).to_have_value("Be kind.")
    (record,) = read(saved(page, "history-jsonl"))
    assert [{"role": turn.role, "content": turn.content} for turn in record.messages] == ROWS[0]["messages"]
    eyes.shoot(page, "chat-history-wide")


def _list(page: Page, eyes) -> None:
    """Searched, named, deleted, and there again after a reload, whatever else lies in the browser's store."""
    listed, search = page.locator("#chat-history li"), page.locator("#chat-history input[type=search]")
    search.fill("grass ANDES")
    expect(listed).to_have_count(1)
    assert len(saved(page, "history-every").read_text(encoding="utf-8").splitlines()) == 1
    search.fill("no such words")
    expect(page.locator("#chat-history .camelid-note")).to_contain_text("No conversation contains all")
    search.fill("")
    page.locator("#chat-history .rename").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("Mine")
    page.keyboard.press("Enter")
    expect(listed.first).to_contain_text("Mine")
    page.locator("#chat-history .delete").last.click()
    expect(listed.last).to_contain_text("This cannot be undone.")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)
    eyes.shoot(page, "chat-history-narrow")
    page.locator("#chat-history .stop").click()
    expect(listed).to_have_count(2)
    foreign = {"version": 1, "ident": "odd", "title": "Odd", "when": 1, "talk": {"turns": [{"question": 1}]}}
    page.evaluate("text => localStorage.setItem('camelid.talk.odd', text)", json.dumps(foreign))
    page.evaluate("localStorage.setItem('camelid.talk.torn', '{')")
    eyes.settle(page)
    page.reload()
    expect(listed).to_have_count(3, timeout=300_000)
    expect(listed.first).to_contain_text("Mine")
    listed.last.locator(".open").click()
    expect(page.locator("#history-notice")).to_contain_text("cannot be read")
    listed.first.locator(".open").click()
    expect(page.locator("#chat-tuned .user")).to_have_count(1)


def test_what_was_sent_is_kept_while_its_answer_streams(eyes):
    page = eyes.open()
    page.set_default_timeout(300_000)
    page.get_by_role("tab", name="Chat").click()
    expect(page.locator("#chat-model input")).to_be_enabled()
    _opened_with(page, "talker")
    for number, leave in enumerate((_reload, _new, _other, _reload), 1):
        question = f"Talk, number {number}."
        page.locator("#chat-message textarea").fill(question)
        page.locator("#chat-send").click()
        expect(page.locator("#chat-tuned .bot .content").last).to_contain_text("a", timeout=300_000)
        page.wait_for_timeout(700)
        complaints = list(eyes.complaints)
        leave(page)
        if leave is _reload:
            eyes.complaints[:] = complaints  # a reload cuts off its stream, and Gradio's script says so
        kept = page.locator("#chat-history li", has_text=question)
        expect(kept).to_have_count(1)
        expect(page.locator("#chat-tuned .user", has_text=question)).to_have_count(0)
        kept.locator(".open").click()
        expect(page.locator("#chat-tuned .user .content")).to_have_text(question)
        expect(page.locator("#chat-tuned .bot .content")).not_to_have_text("")
        page.locator("#history-new").click()
        expect(page.locator("#chat-tuned .user")).to_have_count(0)
    eyes.shoot(page, "chat-kept-wide")


def _opened_with(page: Page, model: str) -> None:
    pick(page, "chat-model", model)
    page.locator("#chat-load").click()
    expect(page.locator("#chat-status")).to_contain_text(f"{model} is ready", timeout=300_000)
    page.locator(".camelid-aside .camelid-drawer > button").first.click()
    page.locator("#sampling-max_new_tokens input").fill("4000")
    page.keyboard.press("Tab")


def _reload(page: Page) -> None:
    page.reload()
    page.get_by_role("tab", name="Chat").click()
    expect(page.locator("#chat-message textarea")).to_be_enabled()


def _new(page: Page) -> None:
    page.locator("#history-new").click()


def _other(page: Page) -> None:
    page.locator("#chat-history li .open").last.click()
