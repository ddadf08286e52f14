"""Servers that are not there, refuse, are busy, break off or send nonsense: each is a sentence; none tells a key."""

from __future__ import annotations

import itertools
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from camelid_core.errors import CamelidError, ConfigError, ModelError, UsageError
from camelid_core.plugins import load_host
from camelid_openai_engine.loading import connect
from camelid_openai_engine.options import ClientOptions
from camelid_openai_engine.server import find_program
from camelid_serve.engine import ENGINE_KEY, Request, Sampling
from camelid_serve.engine_spec import format_engine_spec, parse_engine_spec

from .upstreams import Answer, models, ok, sse, upstream

KEY = "sk-do-not-tell-anybody"
DONE = sse({"choices": [{"index": 0, "text": "", "token_ids": [65], "finish_reason": "length"}]})


def said(status: int, message: str, **headers: str) -> Answer:
    return status, headers, b'{"error": {"message": "%s", "code": 1}}' % message.encode()


def sentence(resolved: Any, *answers: Answer, first: Answer = DONE) -> str:
    """The error of a request that is answered so, after a successful probe; empty where one answer is good."""
    turns = itertools.chain([first], answers, itertools.repeat(DONE))

    def respond(path: str, body: Any) -> Answer:
        return models("vllm", "tiny") if body is None else next(turns)

    with upstream(respond) as (url, _):
        engine = connect(resolved, "auto", 2, ClientOptions(url=url), lambda text: None)
        try:
            list(engine.stream([Request([1], Sampling(max_new_tokens=1))]))
        except ModelError as error:
            return re.sub(r"127\.0\.0\.1:\d+", "HERE", str(error))
        finally:
            engine.close()
    return ""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said(401, f"Incorrect API key provided: {KEY}"), "asks for a key; set CAMELID_ENGINE_KEY, or key_file=FILE"),
        (said(404, "The model `x` does not exist."), r"refuses this \(404\): The model `x` does not exist\."),
        (said(400, "too long"), r"refuses this \(400\): too long"),
        (said(500, "CUDA out of memory"), r"failed \(500\): CUDA out of memory"),
        ((502, {}, b"<html>Bad gateway</html>"), r"failed \(502\): <html>Bad gateway</html>"),
        ((500, {}, b""), r"failed \(500\): it does not say why\."),
        (said(429, "slow down", **{"retry-after": "3600"}), r"is busy \(429\): slow down Ask again later"),
        (ok({"surprise": 1}), r"sends what is no completion: \{'surprise': 1\}"),
        (sse({"choices": [{"index": 0, "text": "", "token_ids": ["x"]}]}), "sends what is no completion"),
        (sse({"choices": [{"text": "", "finish_reason": "abort"}]}), "it ended an answer with 'abort'"),
        ((200, {}, b"data: {half\n\n"), "sends what is no completion"),
        ((200, {}, b"data: \xff\xfe\n\n"), "sends what is no completion"),
        (sse({"choices": [{"index": 0, "text": "A", "token_ids": [65]}]}), "ended an answer before it was complete"),
        (sse({"error": {"message": "worker died"}}), "gave up in the middle of an answer: worker died"),
        ((200, {"content-length": "999"}, b'data: {"choices": []}\n\n'), "closed the connection in the middle"),
    ],
)
def test_every_failure_is_a_sentence(resolved: Any, answer: Answer, expected: str) -> None:
    assert re.search(expected, text := sentence(resolved, answer)), text
    assert KEY not in text or "Incorrect" in text


def test_a_busy_server_is_waited_for_as_long_as_it_asks(resolved: Any) -> None:
    soon = "Sat, 01 Jan 2000 00:00:00 GMT"
    busy = said(429, "later", **{"retry-after": "0"}), said(503, "loading"), said(503, "later", **{"retry-after": soon})
    assert sentence(resolved, *busy) == ""


def test_nobody_there(resolved: Any) -> None:
    with upstream(lambda path, body: DONE) as (url, _):
        pass
    with pytest.raises(ModelError, match="nothing listens there, or it cannot be reached"):
        connect(resolved, "auto", 2, ClientOptions(url=url), lambda text: None)


def test_a_server_that_goes_away_between_two_requests(resolved: Any) -> None:
    with upstream(lambda path, body: models("vllm", "tiny") if body is None else DONE) as (url, _):
        engine = connect(resolved, "auto", 2, ClientOptions(url=url), lambda text: None)
    with pytest.raises(ModelError, match="no answer from the server at http://127"):
        list(engine.stream([Request([1])]))
    engine.close()


@pytest.mark.parametrize("from_file", [True, False])
def test_the_key_is_shown_to_the_server_and_to_nobody_else(
    resolved: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, from_file: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n", encoding="utf-8")
    if not from_file:
        monkeypatch.setenv(ENGINE_KEY, KEY)
    told: list[str] = []
    turns = itertools.chain([DONE], itertools.repeat(said(401, f"{KEY} is wrong")))

    def respond(_: str, body: Any) -> Answer:
        return models("vllm", "tiny") if body is None else next(turns)

    with upstream(respond) as (url, asked):
        options = ClientOptions(url=url, key_file=str(path) if from_file else "")
        engine = connect(resolved, "auto", 2, options, told.append)
        with pytest.raises(ModelError, match="does not take this key") as refused:
            list(engine.stream([Request([1])]))
        engine.close()
    assert {key for _, _, key in asked} == {f"Bearer {KEY}"}
    assert KEY not in "".join([*told, str(refused.value), caplog.text, str(options)])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], "url: required, but not given"),
        (["url=localhost:8000"], "give an address such as http://127.0.0.1:8000"),
        (["url=http://me:secret@host"], "a key belongs into CAMELID_ENGINE_KEY or key_file"),
        (["url=http://h", "flavor=vllm"], "unknown key. Did you mean 'flavour'"),
        (["url=http://h", "flavour=vlm"], "known are vllm, sglang, llama-server, ollama, camelid, openai"),
    ],
)
def test_settings_that_do_not_fit_are_said_before_anything_is_asked(settings: list[str], expected: str) -> None:
    with pytest.raises(CamelidError, match=re.escape(expected)) as refused:
        parse_engine_spec(load_host().registry("camelid_engines"), format_engine_spec("openai", settings))
    assert "secret@" not in str(refused.value)


def test_settings_are_written_behind_the_name() -> None:
    kinds = load_host().registry("camelid_engines")
    chosen = parse_engine_spec(
        kinds, format_engine_spec("vllm", ["arguments=--tensor-parallel-size 2", "environment.A=b c"])
    )
    assert (chosen.name, chosen.options.arguments) == ("vllm", "--tensor-parallel-size 2")  # type: ignore[union-attr]
    assert chosen.options.environment == {"A": "b c"}  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="engine 'transformers' takes no settings; leave out url=x"):
        parse_engine_spec(kinds, "transformers url=x")
    with pytest.raises(UsageError, match="cannot be read: No closing quotation"):
        parse_engine_spec(kinds, "openai 'url=x")


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-of-that-name/x", "a\0/b"])
def test_what_no_file_can_be_called_is_no_key_file_and_no_program(name: str) -> None:
    with pytest.raises(UsageError, match=r"^key_file '.*' cannot be used: .*\.$"):
        ClientOptions(url="http://h", key_file=name).key()
    with pytest.raises(UsageError, match=r"^program '.*' cannot be used: .*\.$"):
        find_program(f"{name}/vllm", "vLLM", "pip install vllm")


def test_a_key_file_that_holds_none(tmp_path: Path, resolved: Any) -> None:
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match="cannot be read"):
        ClientOptions(url="http://h", key_file=str(path)).key()
    path.write_text("two words", encoding="utf-8")
    with pytest.raises(ConfigError, match="must hold one key and nothing else") as refused:
        ClientOptions(url="http://h", key_file=str(path)).key()
    assert "two words" not in str(refused.value)
