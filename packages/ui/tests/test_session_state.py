"""Session state on the server: the states of each open page, and no copy of the components."""

from __future__ import annotations

import gradio as gr
import pytest
from camelid_ui import session_state
from camelid_ui.session_state import limit_session_state
from fastapi import FastAPI
from starlette.testclient import TestClient


@pytest.fixture
def client(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setenv("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
    with gr.Blocks() as blocks:
        said, all_said, shown = gr.Textbox(), gr.State([]), gr.Textbox()
        said.submit(
            lambda text, before: ([*before, text], gr.Textbox(value=" ".join([*before, text]), label="All")),
            [said, all_said],
            [all_said, shown],
        )
    app = FastAPI()
    gr.mount_gradio_app(app, blocks, path="/")
    limit_session_state(app.routes[-1].app, blocks)
    with TestClient(app) as client:
        client.kept = app.routes[-1].app.state_holder.session_data
        yield client


def say(client: TestClient, session: str, text: str) -> str:
    body = {"fn_index": 0, "data": [text, None], "session_hash": session}
    client.post("/gradio_api/queue/join", json=body).raise_for_status()
    return client.get("/gradio_api/queue/data", params={"session_hash": session}).text


def test_states_are_each_pages_own_and_nothing_else_is_kept(client):
    assert '"value":"one"' in say(client, "a", "one")
    assert '"value":"two"' in say(client, "b", "two")
    assert '"value":"one three"' in say(client, "a", "three")
    assert set(client.kept) == {"a", "b"}
    assert [session.config_values for session in client.kept.values()] == [{}, {}]


def test_the_least_recently_used_session_is_dropped(client, monkeypatch):
    client.app.routes[-1].app.state_holder.capacity = 2
    for session in "abac":
        say(client, session, "x")
    assert set(client.kept) == {"a", "c"}
    assert session_state.MAX_SESSIONS >= 1000
