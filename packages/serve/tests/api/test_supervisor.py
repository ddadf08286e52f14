"""Engines that die or stall, and the shutdown of the server: clients get errors, and the engine is restarted."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from camelid_core.errors import UsageError
from camelid_serve.api import server, supervisor
from camelid_serve.api.supervisor import models_by_label, split_label
from camelid_serve.engine_process.client import EngineProcess

KEY = "open-sesame"


@pytest.fixture
def own() -> EngineProcess:
    """A process that dies with its server."""
    return EngineProcess("camelid_serve.testing")


def code(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


@pytest.mark.slow
def test_a_dead_engine_is_restarted(serve: Callable[..., Any], own: EngineProcess) -> None:
    served = serve({"mortal": "tokens=9,die=3", "fast": "tokens=8"}, own=own)
    assert served.get("/ready").status_code == 200
    supervisor = served.state.supervisor
    asyncio.run_coroutine_threadsafe(
        supervisor.changing.acquire(), supervisor.loop
    ).result()  # none is started meanwhile
    response = served.chat(model="mortal")
    assert (response.status_code, code(response)) == (503, "engine_failed")
    assert served.get("/ready").status_code == 503
    refused = served.chat(model="fast")
    assert (refused.status_code, code(refused)) == (503, "not_ready")
    assert served.get("/health").status_code == 200
    supervisor.loop.call_soon_threadsafe(supervisor.changing.release)
    served.until(lambda: served.get("/ready").status_code == 200)
    assert served.chat(model="fast").status_code == 200
    assert served.metric("camelid_engine_restarts_total") == 1


@pytest.mark.slow
def test_a_stalled_engine_is_restarted_and_given_up_after_too_many(
    serve: Callable[..., Any], own: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start is a process; the rule is the same with fewer of them, and with less patience for the stuck."""
    monkeypatch.setattr(supervisor, "RESTARTS", 1)
    served = serve({"stuck": "tokens=9,hang=3", "fast": "tokens=8"}, own=own)
    patient = served.state.supervisor._stall_seconds
    with ThreadPoolExecutor() as pool:
        whole, stream = (
            pool.submit(served.chat, model="stuck"),
            pool.submit(served.chat, model="stuck", stream=True),
        )
        served.until(lambda: len(served.state.supervisor.calls) == 2)
        served.state.supervisor._stall_seconds = 0.3
    assert code(whole.result()) == "engine_failed"
    assert "engine_failed" in stream.result().text
    served.until(lambda: served.get("/ready").status_code == 200)
    assert served.metric("camelid_engine_restarts_total") == 1
    served.state.supervisor._stall_seconds = patient
    assert served.chat(model="fast").status_code == 200
    served.state.supervisor._stall_seconds = 0.3
    served.chat(model="stuck")
    served.until(lambda: served.state.supervisor.state == "failed")
    assert served.get("/ready").status_code == 503
    assert "2 times in 10 minutes" in served.chat(model="fast").text
    assert served.get("/health").status_code == 200


def test_prefill_extends_the_stall_timeout(serve: Callable[..., Any]) -> None:
    served = serve({"long": "tokens=100000,gap=0.02", "late": "tokens=8,first=600"})
    watched = served.state.supervisor

    async def ask(model: str, tokens: int) -> Any:
        """What its characters are is forgotten once its tokens are counted."""
        sampling = {"max_new_tokens": 100_000}
        asked = {"model": model, "prompts": [[70] * tokens], "sampling": sampling, "stream": True}
        return watched.submit(asked, 0, 9)

    calls = [
        asyncio.run_coroutine_threadsafe(ask(*each), watched.loop).result() for each in (("late", 750), ("long", 125))
    ]
    served.until(lambda: calls[0].prefill_seconds == 30)
    before = watched._last_token_at
    served.until(lambda: watched._last_token_at > before)
    assert watched._allowed_silence() == watched._stall_seconds + 30
    for call in calls:
        call.cancel()
    served.until(lambda: not watched.calls)
    assert watched._allowed_silence() == watched._stall_seconds


def test_ready_means_a_recent_token(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_PROBE_SECONDS", 60)
    monkeypatch.setattr(supervisor, "FRESH_SECONDS", 600)
    served = serve({"fast": "tokens=8"})
    served.state.supervisor._last_token_at = float("-inf")
    before = served.metric("camelid_generated_tokens_total")
    assert served.get("/ready").status_code == 200
    assert served.metric("camelid_generated_tokens_total") == before + 1
    assert served.get("/ready").status_code == 200
    assert served.metric("camelid_generated_tokens_total") == before + 1


def test_a_model_that_cannot_be_loaded_is_an_error(serve: Callable[..., Any]) -> None:
    served = serve({"broken": "broken"})
    assert "'broken' cannot be loaded" in str(served.failure[0])
    assert served.get("/ready").status_code == 503
    assert code(served.chat()) == "not_ready"


def test_graceful_shutdown_completes_running_answers(serve: Callable[..., Any]) -> None:
    served = serve(drain_seconds=60, slots=1)
    with ThreadPoolExecutor() as pool:
        with served.engine_stopped():
            running = pool.submit(served.chat)
            served.until(lambda: served.state.slots.taken == 1)
            waiting = pool.submit(served.chat)
            served.until(lambda: served.state.slots.waiting == 1)
            served.server.should_exit = True
            assert (waiting.result().status_code, code(waiting.result())) == (503, "shutting_down")
            assert not running.done()
        assert running.result().status_code == 200


def test_shutdown_ends_long_answers_with_an_error(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ABORT_BEFORE", 60)
    served = serve({"long": "tokens=100000,gap=0.02"}, drain_seconds=60.2)
    ask = {"messages": [{"role": "user", "content": "Hello?"}], "stream": True}
    with ThreadPoolExecutor() as pool, served.client.stream("POST", "/v1/chat/completions", json=ask) as stream:
        assert stream.status_code == 200
        whole = pool.submit(served.chat)
        served.until(lambda: served.state.slots.taken == 2)
        served.server.should_exit = True
        assert stream.read().rstrip().endswith(b'"code":"shutting_down"}}')
        assert (whole.result().status_code, code(whole.result())) == (503, "shutting_down")


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "camelid_core.cli", "serve", *arguments]
    environment = {**os.environ, "CAMELID_HOME": str(home), "CAMELID_API_KEY": ""}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def running(base: Path, adapter: Path, home: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`camelid serve` itself, on a free port."""
    shutil.copytree(adapter, home / "artefacts" / "published")
    options = ["--port", "0", "--limit", "drain_seconds=3", "--allow-adapters", "1"]
    process = start(home, f"plain={base}", str(adapter), *options)
    address = home / "api.json"
    assert process.stdout is not None
    while not any("Ready" in line for line in process.stdout):
        assert process.poll() is None
    yield process, json.loads(address.read_text(encoding="utf-8"))
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_the_command_serves_adapters_on_their_base_until_it_is_told_to_stop(
    running: tuple[subprocess.Popen[str], dict[str, Any]], home: Path
) -> None:
    process, address = running
    assert (home / "api.json").stat().st_mode & 0o777 == 0o600
    client = httpx.Client(base_url=address["url"], headers={"authorization": f"Bearer {address['token']}"}, timeout=240)
    with client:
        assert [model["id"] for model in client.get("/models").json()["data"]] == ["plain", "adapter"]
        children = psutil.Process(process.pid).children()
        assert len(children) == 1
        ask = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 8}
        answers = [client.post("/chat/completions", json={"model": m, **ask}).json() for m in ("plain", "adapter")]
        texts = [answer["choices"][0]["message"]["content"] for answer in answers]
        assert texts[0] != texts[1]
        more = {"lora_name": "more", "lora_path": "published"}
        assert client.post("/load_lora_adapter", json=more).json()["id"] == "more"
        answer = client.post("/chat/completions", json={"model": "more", **ask}).json()
        assert answer["choices"][0]["message"]["content"] == texts[1]
        assert client.post("/unload_lora_adapter", json={"lora_name": "adapter"}).status_code == 200
        assert [model["id"] for model in client.get("/models").json()["data"]] == ["plain", "more"]
    assert httpx.get(f"{address['url']}/models", timeout=240).status_code == 401
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 0
    assert not (home / "api.json").exists()
    psutil.wait_procs(children, 60)
    assert not any(child.is_running() for child in children)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["BASE", "--host", "0.0.0.0", "--no-token"], "lets other machines in"),
        (["no-such-model"], "is not known"),
        (["BASE", "--limit", "slotz=3"], "slots"),
        (["BASE", "--engine", "transformer"], "transformers"),
        (["a=BASE", "a=BASE"], "two models are called"),
    ],
)
def test_the_command_says_what_is_wrong_before_it_starts(
    arguments: list[str], words: str, base: Path, home: Path
) -> None:
    process = start(home, *(argument.replace("BASE", str(base)) for argument in arguments))
    _, said = process.communicate(timeout=120)
    assert process.returncode in (1, 2)
    assert words in said
    assert "Traceback" not in said


def test_the_servers_process_imports_no_model_library() -> None:
    script = (
        "import sys, camelid_serve.commands.serve, camelid_serve.api.app, camelid_serve.api.server\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'tokenizers') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_labels() -> None:
    assert split_label("runs/mine") == ("runs/mine", "runs/mine")
    assert split_label("./runs/mine/") == ("mine", "./runs/mine/")
    assert split_label("mine=/a/b") == ("mine", "/a/b")
    assert models_by_label(["a", "b=a"]) == {"a": "a", "b": "a"}
    with pytest.raises(UsageError, match="two models"):
        models_by_label(["a", "a=b"])
