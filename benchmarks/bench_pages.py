"""What the web pages cost the browser that shows them: seconds until they can be used, and work of its main thread.

    python benchmarks/bench_pages.py [--rounds 3] [--rival llamafactory [--environment DIR]] [--chromium PATH]

Each page is opened by a browser that has seen nothing yet, and watched for ten seconds; then a model answers on the
Chat page for ten seconds, in as many tokens as it finds time for. A rival's page is opened after ours. Without a
graphics card the browser paints with the processor, for all of them alike. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from camelid_core.testing import suppress_end_of_sequence, tiny_model
from playwright.sync_api import Browser, Page, sync_playwright
from rivals import machine, python_of

WATCHED_SECONDS = 10
PAGES = {  # what shows that a page can be used
    "data": "#data-list [data-key]", "train": "#train-estimate .camelid-facts", "chat": "#chat-model input",
}  # fmt: skip
RIVAL_USABLE = "button:has-text('Start')"
RIVAL_STARTS = (
    "import rivals; rivals.stand_in('torchaudio'); from llamafactory.webui.interface import run_web_ui; run_web_ui()"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rival", choices=["llamafactory"])
    parser.add_argument("--environment", type=Path, help="where the rival is installed, or is to be")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox", "--disable-gpu"])
        print(json.dumps(compare(browser, Path(directory), arguments), indent=2))
        browser.close()


def compare(browser: Browser, home: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    suppress_end_of_sequence(tiny_model(home / "models" / "talker"))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in [*PAGES, "answering", arguments.rival] if name}
    with ours(home) as url:
        for _ in range(arguments.rounds):
            for name, usable in PAGES.items():
                found[name].append(opened(browser, f"{url}&tab={name}", usable))
            found["answering"].append(answering(browser, url))
    if arguments.rival:
        with theirs(python_of(arguments.rival, arguments.environment), home) as url:
            found[arguments.rival] = [opened(browser, url, RIVAL_USABLE) for _ in range(arguments.rounds)]
    medians = {
        name: {what: round(statistics.median(run[what] for run in runs), 2) for what in runs[0]}
        for name, runs in found.items()
    }
    return {"median": medians, "runs": found, "machine": machine(), "browser": browser.version}


def opened(browser: Browser, url: str, usable: str) -> dict[str, float]:
    with watched(browser) as (page, busy):
        began = time.monotonic()
        page.goto(url)
        page.locator(usable).first.wait_for(timeout=60_000)
        seconds = time.monotonic() - began
        page.wait_for_timeout(max(0.0, WATCHED_SECONDS - seconds) * 1000)
        return {"usable_seconds": round(seconds, 2), "busy_seconds": round(busy(), 2)}


def answering(browser: Browser, url: str) -> dict[str, float]:
    with watched(browser) as (page, busy):
        page.goto(f"{url}&tab=chat")
        page.wait_for_function("document.querySelector('#chat-model input')?.value === 'talker'", timeout=60_000)
        page.locator("#chat-load").click()
        page.locator("#chat-status .succeeded").wait_for(timeout=120_000)
        page.locator(".camelid-aside .camelid-drawer > button").first.click()
        page.locator("#sampling-max_new_tokens input").fill("60000")
        page.locator("#chat-message textarea").fill("Tell me a long story.")
        page.keyboard.press("Enter")
        page.locator("#chat-tuned .bot .content").wait_for()
        before = busy()
        page.wait_for_timeout(WATCHED_SECONDS * 1000)
        spent = busy() - before
        characters = page.locator("#chat-tuned .bot .content").inner_text()
        began = time.monotonic()
        page.locator("#chat-stop").click()
        page.locator("#chat-tuned .bot small").wait_for()
        stopped = time.monotonic() - began
        return {"busy_seconds": round(spent, 2), "characters": len(characters), "stop_seconds": round(stopped, 2)}


@contextmanager
def watched(browser: Browser) -> Iterator[tuple[Page, Any]]:
    """A page in a browser that has seen nothing yet, and what says how long its main thread has worked."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    page = context.new_page()
    tools = context.new_cdp_session(page)
    tools.send("Performance.enable")

    def busy() -> float:
        metrics = tools.send("Performance.getMetrics")["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")

    yield page, busy
    context.close()


@contextmanager
def ours(home: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "camelid_core.cli", "ui", "--port", "0"]
    with running(command, home, {"CAMELID_HOME": str(home)}):
        until = time.monotonic() + 60
        while not (home / "ui.json").exists() and time.monotonic() < until:
            time.sleep(0.2)
        address = json.loads((home / "ui.json").read_text())
        answers(f"http://127.0.0.1:{address['port']}/health")
        yield address["url"]


@contextmanager
def theirs(python: Path, home: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "0"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    with running([str(python), "-c", RIVAL_STARTS], home, environment):
        answers(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def running(command: list[str], home: Path, environment: dict[str, str]) -> Iterator[None]:
    with (home / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | environment, cwd=home, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def answers(url: str) -> None:
    """Wait until `url` does."""
    for _ in range(600):
        try:
            urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


if __name__ == "__main__":
    main()
