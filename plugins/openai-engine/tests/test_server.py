"""A server as a child process: a real one, found, started, used, killed, restarted, and ended with us."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from camelid_core.errors import MissingPackage, ModelError
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import shadow_every_module
from camelid_openai_engine import server as module
from camelid_openai_engine.flavours import FLAVOURS
from camelid_openai_engine.loading import start_llama_server, start_ollama, start_vllm
from camelid_openai_engine.options import ServerOptions
from camelid_openai_engine.server import ServerProcess
from camelid_serve.engine import CannotShare, Request, Sampling
from camelid_serve.loaded_models import LoadedModel

TOKENS = Sampling(max_new_tokens=8)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `vllm` to be found on the PATH."""
    path = tmp_path_factory.mktemp("bin") / "vllm"
    shim = Path(__file__).with_name("shim.py")
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {shim} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def processes(mark: str) -> list[psutil.Process]:
    """Those with `mark` in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def said(engine: Any, request: Request) -> list[int]:
    return [event.token for event in engine.stream([request]) if event.token is not None]


@pytest.mark.slow
def test_a_server_is_started_asked_killed_and_started_again(
    program: Path,
    adapter: Path,
    tiny: LoadedModel,
    home: Path,
    until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    resolved = resolve_model(str(adapter), load_host())
    told: list[str] = []
    engine = start_vllm(resolved, "float32", 2, ServerOptions(), told.append)
    try:
        assert told[0].endswith(f"its own words are in {home / 'logs' / 'vllm.log'}")
        assert told[1].startswith("vLLM answers at http://127.0.0.1:")
        assert engine.adapters == ("mine",)
        request = Request([40, 41, 42], TOKENS)
        bare = said(engine, request)
        assert bare == said(tiny.engine, request)
        assert said(engine, Request([40, 41, 42], TOKENS, "mine")) != bare
        address = told[1].rpartition(" ")[2]
        assert httpx.get(f"{address}/v1/models", timeout=240).status_code == 401  # nobody else on this machine may ask

        server: ServerProcess = engine._on_close.__self__  # type: ignore[attr-defined]
        guard = psutil.Process(server.pid)
        (victim,) = guard.children()
        assert "--max-lora-rank" not in victim.cmdline()  # the shim has become the real server by now
        victim.kill()
        until(lambda: server.pid not in (0, guard.pid))
        until(server._ready.is_set)
        assert said(engine, request) == bare
        assert "[Camelid: vLLM was killed" in (home / "logs" / "vllm.log").read_text(encoding="utf-8")
    finally:
        engine.close()
    until(lambda: not processes(str(adapter)))


@pytest.mark.slow
def test_camelid_serve_starts_one_and_takes_it_along_when_killed(
    program: Path, base: Path, home: Path, until: Callable[..., None]
) -> None:
    mark = str(shutil.copytree(base, home.parent / "tiny"))  # no other server has this path in its arguments
    command = [sys.executable, "-m", "camelid_core.cli", "serve", f"mine={mark}", "--port", "0", "--no-token"]
    command += ["--engine", "vllm", "--engine-option", f"program={program}", "--slots", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serve:
        assert serve.stdout is not None
        assert serve.stderr is not None
        try:
            assert any(line.startswith("Ready") for line in serve.stdout)
            url = json.loads((home / "api.json").read_text(encoding="utf-8"))["url"]
            body = {"model": "mine", "prompt": [40, 41], "max_tokens": 5, "return_token_ids": True, "seed": 1}
            said = httpx.post(f"{url}/completions", json=body, timeout=240).text
            running = len(processes(mark))
        finally:
            serve.kill()
        log = serve.stderr.read()
    assert '"finish_reason":"length"' in said, said + log
    assert running == 3  # camelid serve, the guard, the server
    assert "INFO: vLLM answers at http://127.0.0.1:" in log
    until(lambda: not processes(mark))


def test_a_program_that_is_not_here_is_said_with_what_to_do(resolved: Any, tmp_path: Path) -> None:
    with pytest.raises(
        MissingPackage, match=r"vLLM needs the program '/no/vllm', which is not here. To have it: install"
    ):
        start_vllm(resolved, "auto", 2, ServerOptions(program="/no/vllm"), lambda text: None)
    with pytest.raises(ModelError, match=r"llama\.cpp's server needs a GGUF file, and .* holds none"):
        start_llama_server(resolved, "auto", 2, ServerOptions(), lambda text: None)
    path = tmp_path / "not-executable"
    path.write_text("", encoding="utf-8")
    with pytest.raises(MissingPackage, match="Ollama needs the program"):
        start_ollama(resolved, "auto", 2, ServerOptions(program=str(path)), lambda text: None)


def test_a_program_that_ends_at_once_says_why_and_not_its_key(resolved: Any, program: Path, home: Path) -> None:
    options = ServerOptions(program=str(program), arguments="--fail")
    with pytest.raises(
        ModelError, match=r"vLLM ended with exit code 1; it said last: no graphics card .* key is …"
    ) as said:
        start_vllm(resolved, "auto", 2, options, lambda text: None)
    assert str(home / "logs" / "vllm.log") in str(said.value)


def test_settings_that_no_program_can_be_given_are_said(resolved: Any, program: Path) -> None:
    options = ServerOptions(program=str(program), environment={"A=B": "1"})
    with pytest.raises(ModelError, match="vLLM cannot be started: illegal environment variable name"):
        start_vllm(resolved, "auto", 2, options, lambda text: None)


@pytest.fixture
def make(home: Path) -> Iterator[Callable[..., ServerProcess]]:
    """A server program of one line of Python."""
    made: list[ServerProcess] = []

    def make(code: str, start_seconds: float = 60) -> ServerProcess:
        command = [sys.executable, "-c", code]
        server = ServerProcess(
            "tester",
            lambda port: [*command, str(port)],
            lambda port: {},
            "/health",
            home / "logs" / "tester.log",
            start_seconds,
        )
        made.append(server)
        return server

    yield make
    for server in made:
        server.close()


SERVE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_one_that_dies_too_often_stays_dead(
    make: Callable[..., ServerProcess], until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESTARTS", 1)
    server = make(SERVE)
    server.start(lambda text: None)
    first = server.pid
    os.killpg(first, signal.SIGKILL)
    until(lambda: server.pid not in (0, first))
    until(server._ready.is_set)
    os.killpg(server.pid, signal.SIGKILL)
    until(lambda: not server.alive)
    assert "tester ended 2 times in 10 minutes and stays so. tester was killed" in server._failure


def test_one_that_never_answers_is_given_up_on(
    make: Callable[..., ServerProcess], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now() -> float:
        """An hour passes when it has spoken, and no sooner."""
        return time.monotonic() + 3600 * (b"shards" in (home / "logs" / "tester.log").read_bytes())

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=now))
    server = make("import time; print('loading shards', flush=True); time.sleep(600)")
    with pytest.raises(ModelError, match=r"did not answer within 60 s \(start_seconds\); it said last: loading shards"):
        server.start(lambda text: None)
    assert server._process is None


def test_all_it_started_ends_with_it(make: Callable[..., ServerProcess], until: Callable[..., None]) -> None:
    """Workers too, and those that do not listen to SIGTERM."""
    stubborn = "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    server = make(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {stubborn!r}])\n{SERVE}")
    server.start(lambda text: None)
    assert len(processes(stubborn)) == 3  # the guard, the server, its worker
    server.close()
    until(lambda: not processes(stubborn))


def test_neither_it_nor_its_workers_import_what_lies_where_we_are(
    make: Callable[..., ServerProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "downloaded").mkdir()
    monkeypatch.chdir(tmp_path / "downloaded")
    sprung = shadow_every_module(Path.cwd())
    server = make(f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'import json, psutil'])\n{SERVE}")
    server.start(lambda text: None)
    assert sprung() == set()


@pytest.mark.parametrize("name", ["vllm", "sglang", "llama-server", "ollama"])
def test_arguments_are_data_and_whole(name: str) -> None:
    start = FLAVOURS[name].launch
    assert start is not None
    values = {key: f"<{key}>" for key in ("model", "name", "port", "dtype", "slots", "gguf")}
    filled = [part.format(**values) for part in start.arguments]
    assert filled[0].startswith("--") or filled[0] == "serve"
    spread = " ".join([*filled, *(text.format(**values) for text in start.environment.values())])
    assert "<port>" in spread
    assert "127.0.0.1" in spread  # nobody else on the network
    assert start.health.startswith("/")
    assert "program=" in start.install


def test_adapters_go_along_with_the_least_rank_that_fits(adapter: Path, tmp_path: Path) -> None:
    from camelid_openai_engine.adapters import ManagedAdapters

    resolved: ResolvedModel = resolve_model(str(adapter), load_host())
    vllm, sglang = FLAVOURS["vllm"], FLAVOURS["sglang"]
    assert vllm.launch is not None
    assert sglang.launch is not None
    registry = ManagedAdapters("vLLM", vllm.launch, "tiny", vllm.adapter_model)
    assert registry.add(resolved) == ("mine", "mine")
    assert registry.arguments() == ["--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"mine={adapter}"]
    other = ManagedAdapters("SGLang", sglang.launch, "tiny", sglang.adapter_model)
    assert other.add(resolved) == ("mine", "tiny:mine")
    posted: list[Any] = []
    registry.post = lambda path, body: posted.append((path, body))
    assert registry.add(resolved) == ("mine-", "mine-")
    assert registry.unload_request("mine-") == ("/v1/unload_lora_adapter", {"lora_name": "mine-"})
    registry.remove("mine-")
    registry.remove("mine")
    assert registry.add(resolved) == ("mine", "mine"), "it was started to take them, if with none by now"
    load = ("/v1/load_lora_adapter", {"lora_name": "mine-", "lora_path": str(adapter)})
    assert posted[:1] == [load]
    bare = ManagedAdapters("vLLM", vllm.launch, "tiny", vllm.adapter_model)
    assert bare.arguments() == []
    bare.post = registry.post
    with pytest.raises(CannotShare, match="was started without adapters"):
        bare.add(resolved)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    large = shutil.copytree(adapter, tmp_path / "large")
    (large / "adapter_config.json").write_text(json.dumps(config | {"r": 24}), encoding="utf-8")
    with pytest.raises(CannotShare, match="was started for adapters of rank 16 at most; start it with"):
        registry.add(resolve_model(str(large), load_host()))
    with pytest.raises(ModelError, match="takes no adapters here; merge"):
        ManagedAdapters("llama.cpp's server", FLAVOURS["llama-server"].launch, "tiny", "").add(resolved)  # type: ignore[arg-type]
