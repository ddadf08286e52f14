"""A real server in a home of its own, and a real Chromium to look at it.

`camelid ui` runs as a process with a tiny random model; pages are opened at two widths, and
everything the console complains about fails the test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from camelid_core.testing import suppress_end_of_sequence, tiny_model, write_jsonl
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 375, "height": 812}
LATE = os.environ.get("CAMELID_LATE", "")  # answers come up to so many milliseconds late, each at random
SLOW = os.environ.get("CAMELID_SLOW", "")  # pages run on a processor so many times slower
SHOTS = Path(__file__).parents[2] / "test-output" / "screenshots"
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-features=Translate,OptimizationHints,MediaRouter",
]  # fmt: skip

expect.set_options(timeout=300_000)  # on a busy machine a page is minutes behind; a wait that is met costs nothing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class Server:
    """A running `camelid ui`; `url` has the token."""

    home: Path
    url: str
    process: subprocess.Popen[bytes]

    def jobs(self) -> list[Any]:
        from camelid_core.jobs.foreground import open_store

        return open_store(self.home).list()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("home")
    tiny = tiny_model(directory / "models" / "tiny")
    suppress_end_of_sequence(Path(shutil.copytree(tiny, directory / "models" / "talker")))
    return directory


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Server]:
    found = start(home, "--open")
    yield found
    stop(found.process)
    _stop_workers(home)


@pytest.fixture(scope="session")
def plugin_server(environment: Any) -> Iterator[Server]:
    """The pages of a clean environment in which the example plugin is installed."""
    tiny_model(environment.home / "models" / "persimmon", "persimmon")
    found = start(environment.home, python=environment.path / "bin" / "python")
    yield found
    stop(found.process)
    _stop_workers(environment.home)


def start(home: Path, *options: str, python: Path | str = sys.executable) -> Server:
    environment = os.environ | {"CAMELID_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    environment["BROWSER"] = "true"  # a program: what --open starts is seen elsewhere
    command = [str(python), "-m", "camelid_core.cli", "ui", "--port", "0", *options]
    with (home / "ui.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            address = json.loads((home / "ui.json").read_text())
            if address["pid"] == process.pid and _answers(address["port"]):
                return Server(home, address["url"], process)
        except (OSError, ValueError):
            time.sleep(0.2)
    process.kill()
    raise AssertionError((home / "ui.log").read_text()[-4000:])


def _answers(port: int) -> bool:
    with urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
        return response.status == 200


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(240)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _stop_workers(home: Path) -> None:
    """End the workers that the pages started, by the id each wrote into the job table."""
    import sqlite3

    with sqlite3.connect(home / "jobs.sqlite3") as table:
        ids = [row[0] for row in table.execute("SELECT pid FROM worker WHERE name <> 'starting'")]
    for each in ids:
        os.kill(each, signal.SIGTERM)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = os.environ.get("CAMELID_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        yield found
        found.close()


@dataclass
class Eyes:
    """Opens pages and looks at them."""

    server: Server
    browser: Browser
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)
    open_streams: list[Request] = field(default_factory=list)

    def open(self, where: str = "", size: dict[str, int] = WIDE, **options: Any) -> Page:
        context = self.browser.new_context(viewport=size, **{"locale": "en-US", **options})  # type: ignore[arg-type]
        self.contexts.append(context)
        if LATE:
            context.add_init_script(_LATE)
        page = context.new_page()
        page.set_default_timeout(300_000)
        if SLOW:
            context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": float(SLOW)})
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.open_streams.append(request) if "/queue/data" in request.url else None)
        page.on("requestfinished", self._closed)
        page.on("requestfailed", self._closed)
        page.goto(self.server.url + where.replace("?", "&"))
        expect(page.locator(".camelid-header h1")).to_be_visible(timeout=300_000)
        return page

    def _closed(self, request: Request) -> None:
        self.open_streams[:] = [each for each in self.open_streams if each != request]

    def settle(self, page: Page) -> None:
        """Wait until no handler of the page is under way: leaving it then cuts off no stream."""
        deadline = time.monotonic() + 300
        while self.open_streams:
            assert time.monotonic() < deadline, [each.url for each in self.open_streams]
            page.wait_for_timeout(100)

    def shoot(self, page: Page, name: str) -> None:
        """Keep a picture, and check that nothing reaches over the page's edge."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True, style=_UNSTUCK)
        over = page.evaluate(_OVER)
        assert not over, f"{name}: reaches over the edge: {over}"


_LATE = f"""const fetched = window.fetch;
window.fetch = async (...asked) => {{
  const answer = await fetched(...asked);
  if (String(asked[0]?.url ?? asked[0]).includes('/queue/join')) {{
    await new Promise(on => setTimeout(on, Math.random() * {LATE or 0}));
  }}
  return answer;
}};"""
_UNSTUCK = "#data-side, .camelid-bottom, #chat-status { position: static !important; }"
"""What sticks to an edge of the window would cover the middle of a picture of the whole page."""
_OVER = """() => [...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  if (!box.width || !box.height || box.right <= innerWidth + 1) return false;
  for (let up = each.parentElement; up && up !== document.body; up = up.parentElement) {
    const scrolls = /auto|scroll/.test(getComputedStyle(up).overflowX);
    if (scrolls && up.getBoundingClientRect().right <= innerWidth + 1) return false;
  }
  return getComputedStyle(each).visibility !== 'hidden';
}).slice(0, 5).map(each => `${each.tagName}.${each.className}#${each.id}`)"""


@pytest.fixture
def eyes(server: Server, browser: Browser) -> Iterator[Eyes]:
    yield from looking(server, browser)


@pytest.fixture
def visitor(space: str, browser: Browser) -> Iterator[Eyes]:
    """Looks at the built Space, which is no server of ours: nobody needs a token there."""
    yield from looking(Server(Path(), f"{space}/?visit=1", None), browser)  # type: ignore[arg-type]


def looking(server: Server, browser: Browser) -> Iterator[Eyes]:
    found = Eyes(server, browser)
    yield found
    complaints = list(found.complaints)  # closing a page cuts off its stream, and Gradio's script says so
    for context in found.contexts:
        context.close()
    assert not complaints, complaints


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"instruction": f"What is {n} + {n}?", "input": "", "output": str(2 * n)} for n in range(1, 13)]
    return write_jsonl(tmp_path_factory.mktemp("files") / "questions.jsonl", rows)
