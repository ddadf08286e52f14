"""A plugin that a stranger wrote shows up in the pages without a line of ours changed."""

from __future__ import annotations

from playwright.sync_api import Browser, expect


def test_its_dataset_template_and_family_are_offered(plugin_server, browser: Browser):
    """The dataset is in the collection, rendered by the plugin's template, which its family prefers."""
    page = browser.new_page()
    page.goto(plugin_server.url + "&tab=data&data=greetings")
    expect(page.locator("#data-head h2")).to_have_text("greetings", timeout=300_000)
    box = page.locator("#data-model input")
    box.click()
    box.fill("persimmon")
    page.get_by_role("option", name="persimmon", exact=True).first.click()
    expect(page.locator("#data-tokens")).to_contain_text("prompt template question-answer")
    page.locator("#data-template input").click()
    expect(page.get_by_role("option", name="question-answer", exact=True).first).to_be_visible()
    page.locator("#tab-plugins-button").click()
    row = page.locator("#plugins-list tr", has_text="camelid-minimal")
    for name in ("greetings", "persimmon", "question-answer"):
        expect(row).to_contain_text(name)
    page.close()
