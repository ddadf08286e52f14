"""The Space's bundle as visitors see it, started where nothing of ours is installed: closed buttons say why, whoever
goes round the page is refused, and the model answers."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import expect

from .conftest import NARROW, WIDE

pytestmark = [pytest.mark.install, pytest.mark.timeout(1800)]


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


def test_the_model_answers_a_visitor(visitor):
    page = visitor.open("?tab=chat")
    expect(page.locator("#chat-status")).to_contain_text("smollm2-135m is ready", timeout=300_000)
    page.locator("#chat-message textarea").fill("Hello?")
    page.locator("#chat-send").click()
    expect(page.locator("#chat-tuned")).to_contain_text("tokens/s", timeout=300_000)
    visitor.shoot(page, "space-chat")


def fetch(url: str, body: Any = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"content-type": "application/json"}), timeout=20) as response:
        return bytes(response.read())


def status_of(url: str, body: Any = None) -> int:
    try:
        fetch(url, body)
    except HTTPError as error:
        error.close()
        return error.code
    return 200


def part(config: dict[str, Any], ident: str) -> dict[str, Any]:
    return next(each for each in config["components"] if each["props"].get("elem_id") == ident)


def press(space: str, ident: str, **fields: Any) -> str:
    """What the page is told after the button's own handler ran, with every other field as the page has it at first."""
    config = json.loads(fetch(f"{space}/config"))
    values = {each["id"]: each["props"].get("value") for each in config["components"]}
    values |= {each["id"]: values[each["id"]] or "" for each in config["components"] if each["type"] == "textbox"}
    values |= {part(config, name.replace("_", "-"))["id"]: value for name, value in fields.items()}
    button = part(config, ident)["id"]
    handler = next(each for each in config["dependencies"] if [button, "click"] in each["targets"])
    joined = {
        "fn_index": handler["id"], "session_hash": "page", "trigger_id": button,
        "data": [values[each] for each in handler["inputs"]],
    }  # fmt: skip
    fetch(f"{space}{config['api_prefix']}/queue/join", joined)
    return fetch(f"{space}{config['api_prefix']}/queue/data?session_hash=page").decode()


def test_the_page_is_there_and_says_what_it_is(space):
    assert b"<gradio-app" in fetch(space)
    config = json.loads(fetch(f"{space}/config"))
    assert config["title"] == "Camelid"
    assert part(config, "train-start")["props"]["interactive"] is False
    assert part(config, "chat-load")["props"]["interactive"] is not False
    assert [each["props"]["id"] for each in config["components"] if each["type"] == "tabitem"][:3] == [
        "data", "train", "chat",
    ]  # fmt: skip


def test_who_goes_round_the_page_is_refused(space):
    said = press(space, "train-start")
    assert "process_completed" in said
    assert "nothing on their machine can be changed" in said


def test_the_model_answers(space):
    """Loaded in a process of its own, which finds the plugins too."""
    deadline = time.monotonic() + 240
    while "smollm2-135m is ready" not in (said := press(space, "chat-load", chat_model="smollm2-135m")):
        assert time.monotonic() < deadline, said
        time.sleep(1)
    said = press(space, "chat-send", chat_message="Hello?")
    assert "tokens/s" in said
    assert "process_completed" in said


def test_no_handler_of_the_space_takes_a_file_of_its_machine(space, tmp_path):
    """Every handler is given one at each of its inputs, named in one way or another."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret-of-this-machine")
    (tmp_path / "link").symlink_to(secret)
    paths = [str(secret), "/proc/self/environ", "../" * 20 + str(secret)[1:], str(tmp_path / "link"), "app.py"]
    config = json.loads(fetch(f"{space}/config"))
    join, data = (f"{space}{config['api_prefix']}/queue/{part}" for part in ("join", "data?session_hash=thief"))
    handlers = [each for each in config["dependencies"] if each["backend_fn"] and each["inputs"]]
    told, asked = "", 0
    for number, handler in enumerate(handlers):
        file = {"path": paths[number % len(paths)], "meta": {"_type": "gradio.FileData"}}
        given = [file] * len(handler["inputs"])
        fetch(join, {"fn_index": handler["id"], "data": given, "session_hash": "thief"})
        asked += 1
        if asked % 12 == 0 or handler is handlers[-1]:
            told += fetch(data).decode()
    assert asked > 100
    assert told.count('"msg":"process_completed"') == asked
    assert "the-secret-of-this-machine" not in told
    assert "/uploads/" not in told
    assert str(tmp_path) not in told
    for path in paths:
        assert status_of(f"{space}{config['api_prefix']}/file={path}") == 404


def test_the_space_takes_no_more_than_it_says(space):
    config = json.loads(fetch(f"{space}/config"))
    assert status_of(f"{space}{config['api_prefix']}/queue/join", {"data": ["x" * 1_000_000]}) == 413
    assert status_of(f"{space}{config['api_prefix']}/upload", {}) == 404


def test_no_other_model_and_no_path_is_loaded(space):
    assert "is not one of this demo" in press(space, "chat-load", chat_model="/etc")
