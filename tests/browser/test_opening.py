"""A browser that `camelid ui --open` sends to a file gets to the pages, and shows the token nowhere."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import expect


def test_the_file_that_a_browser_is_sent_to_leads_to_the_pages(server, browser):
    address = urlsplit(server.url)
    page = browser.new_context().new_page()  # has no cookie yet
    page.goto((server.home / f"camelid-{address.port}.html").as_uri())
    expect(page.locator(".camelid-header h1")).to_be_visible(timeout=300_000)
    assert urlsplit(page.url).netloc == address.netloc
    assert "token" not in page.url
    page.context.close()
