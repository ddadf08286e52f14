"""The Space's bundle as visitors see it: closed buttons say why, and the model answers."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .conftest import NARROW, WIDE


@pytest.mark.install
@pytest.mark.timeout(180)
def test_closed_buttons_are_off_and_say_why(visitor):
    for size, name in ((WIDE, "space"), (NARROW, "space-narrow")):
        page = visitor.open("?tab=train", size)
        expect(page.locator(".camelid-demo")).to_contain_text("This is a demo")
        start = page.locator("#train-start")
        expect(start).to_be_visible()
        expect(start).to_be_disabled()
        expect(page.locator(".camelid-closed:visible", has_text="Closed in this demo").first).to_be_visible()
        page.wait_for_timeout(1500)  # what the form's own check says comes later, and opens nothing
        expect(start).to_be_disabled()
        visitor.shoot(page, name)


@pytest.mark.install
@pytest.mark.timeout(180)
def test_the_model_answers_a_visitor(visitor):
    page = visitor.open("?tab=chat")
    expect(page.locator("#chat-status")).to_contain_text("smollm2-135m is ready", timeout=60_000)
    page.locator("#chat-ask textarea").fill("Hello?")
    page.locator("#chat-send").click()
    expect(page.locator("#chat-tuned")).to_contain_text("tokens/s", timeout=60_000)
    visitor.shoot(page, "space-chat")
