"""No file of the machine is served through the pages: whatever a handler is given for a file, nothing is copied to
where it would be served, and no response names a path. Uploaded files work."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from camelid_core.server_address import host_names, listening_socket
from camelid_ui.access_profile import DEMO, LOCAL
from camelid_ui.guarded_blocks import GuardedBlocks, mark_launched
from camelid_ui.security import guard_local
from camelid_ui.server import build_server, uvicorn_for
from camelid_ui.services import Services
from camelid_ui.services.permissions import enforce
from gradio.exceptions import InvalidPathError

SECRET = "the-secret-of-this-machine"
TOGETHER = 12
"""Events of one session that wait at once: the demo's queue is short."""


@contextmanager
def pages(services: Services) -> Iterator[httpx.Client]:
    """The pages as they are really mounted, guarded and served, and a client that shows the token."""
    with listening_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        app = guard_local(build_server(services), "right", host_names("127.0.0.1"), port, services.profile)
        server = uvicorn_for(app, services.profile)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url, headers = f"http://127.0.0.1:{port}", {"authorization": "Bearer right"}
            with httpx.Client(base_url=url, headers=headers, timeout=240) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture(params=[LOCAL, DEMO], ids=lambda profile: profile.name)
def profiled(
    request: pytest.FixtureRequest, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Any:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setenv("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")  # its tables of events warn
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    profile = request.param.model_copy(update={"max_client_requests": None})
    enforce(services, profile)
    return replace(services, profile=profile)


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    """Ways to name a file that nobody uploaded."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    secret = place / "secret.txt"
    secret.write_text(SECRET)
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "link").symlink_to(secret)
    (tmp_path / "uploads" / "folder").symlink_to(place)
    return {
        "absolute": str(secret),
        "relative": os.path.relpath(secret, tmp_path / "cwd"),
        "dots": f"{tmp_path}/uploads/../elsewhere/secret.txt",
        "link": str(tmp_path / "uploads" / "link"),
        "folder": str(tmp_path / "uploads" / "folder" / "secret.txt"),
        "environment": "/proc/self/environ",
        "address": "http://127.0.0.1:1/secret.txt",
    }


def file_data(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def send(client: httpx.Client, config: dict[str, Any], values: dict[int, list[Any]], session: str) -> str:
    """All that the pages say when these handlers are given these values."""
    told, idents = "", list(values)
    for start in range(0, len(idents), TOGETHER):
        for ident in idents[start : start + TOGETHER]:
            body = {"fn_index": ident, "data": values[ident], "session_hash": session}
            told += client.post(f"{config['api_prefix']}/queue/join", json=body).raise_for_status().text
        told += client.get(f"{config['api_prefix']}/queue/data", params={"session_hash": session}).text
    return told


def wired(config: dict[str, Any]) -> list[dict[str, Any]]:
    """All handlers of the server that are given something."""
    return [each for each in config["dependencies"] if each["backend_fn"] and each["inputs"]]


def attack(client: httpx.Client, path: str, given: Any) -> str:
    """Give every handler `given` at each of its inputs; all that the pages say to that."""
    config = client.get("/config").json()
    values = {each["id"]: [given] * len(each["inputs"]) for each in wired(config)}
    told = send(client, config, values, str(hash((path, str(given)))))
    assert len(values) > 100
    assert told.count('"msg":"process_completed"') == len(values)
    for ident, given_to_it in values.items():  # those that wait for no turn go another way
        direct = {"fn_index": ident, "data": given_to_it, "session_hash": "direct"}
        answer = client.post(f"{config['api_prefix']}/run/predict", json=direct)
        assert answer.status_code >= 400
        told += answer.text
    assert client.get(f"{config['api_prefix']}/file={path}").status_code in (403, 404)
    return told


def test_no_handler_takes_a_file_that_nobody_uploaded(profiled, secrets, tmp_path):
    before = sorted((tmp_path / "uploads").rglob("*"))
    nested = [{"deep": file_data(secrets["absolute"], url=f"/gradio_api/file={secrets['absolute']}")}]
    with pages(profiled) as client:
        for path, given in [(secrets["absolute"], nested), *((path, file_data(path)) for path in secrets.values())]:
            told = attack(client, path, given)
            assert SECRET not in told
            assert str(tmp_path) not in told
            assert path not in told
    assert sorted((tmp_path / "uploads").rglob("*")) == before


@pytest.mark.parametrize("name", ["absolute", "link", "folder", "environment"])
def test_no_handler_gives_out_a_file_that_nobody_uploaded(secrets, name, monkeypatch, tmp_path):
    """What a page of a plugin may do by mistake: it gives back what it found somewhere."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with GuardedBlocks() as blocks:
        asked, shown = gr.Textbox(), gr.File()
        asked.submit(lambda path: path, asked, shown)
    mark_launched(blocks)
    monkeypatch.chdir(tmp_path / "uploads")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "uploads"))
    with pytest.raises(InvalidPathError):
        asyncio.run(blocks.process_api(blocks.fns[0], [secrets[name]], request=gr.Request()))


@pytest.mark.parametrize("profiled", [LOCAL], indirect=True, ids=["local"])
def test_an_uploaded_file_goes_wherever_one_is_taken(profiled, questions):
    with pages(profiled) as client:
        config = client.get("/config").json()
        with questions.open("rb") as file:
            [path] = client.post(f"{config['api_prefix']}/upload", files={"files": file}).json()
        names = {each["id"]: each["props"].get("elem_id") for each in config["components"]}
        takers = ("data-file", "predict-file", "history-read")
        uploads = {
            each["id"]: names[each["targets"][0][0]]
            for each in wired(config)
            if names.get(each["targets"][0][0]) in takers
        }
        assert set(uploads.values()) == set(takers)
        defaults = {each["id"]: each["props"].get("value") for each in config["components"]}
        file = file_data(path, orig_name="questions.jsonl")
        for ident in uploads:
            inputs = config["dependencies"][ident]["inputs"]
            values = [file if names[each] in takers else defaults[each] for each in inputs]
            told = send(client, config, {ident: values}, f"upload-{ident}")
            assert '"success":true' in told, uploads[ident]


@pytest.mark.parametrize("profiled", [DEMO], indirect=True, ids=["demo"])
def test_the_demo_takes_no_file_at_all(profiled, questions):
    with pages(profiled) as client, questions.open("rb") as file:
        assert client.post("/gradio_api/upload", files={"files": file}).status_code == 404
