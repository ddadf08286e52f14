"""The routes' requests, responses and errors: never a 500, and errors always in one form."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ASK = [{"role": "user", "content": "Hello there"}]


def assert_error(response: httpx.Response, status: int, param: str | None = None, code: str | None = None) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert param is None or error["param"] == param
    assert code is None or error["code"] == code


def test_a_conversation_is_answered(api: Any) -> None:
    answer = api.chat(model="fast", n=2, max_tokens=5).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "fast"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert all(choice["message"]["role"] == "assistant" for choice in answer["choices"])
    assert all(choice["finish_reason"] == "length" for choice in answer["choices"])
    usage = answer["usage"]
    assert usage["completion_tokens"] == 10
    assert usage["total_tokens"] == usage["prompt_tokens"] + 10


def events_of(response: httpx.Response) -> list[Any]:
    lines = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize("with_usage", [True, False])
def test_a_stream_equals_the_whole_response(api: Any, with_usage: bool) -> None:
    whole = api.chat(model="fast", n=2).json()
    response = api.chat(model="fast", n=2, stream=True, stream_options={"include_usage": with_usage})
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events_of(response)
    texts, finishes = ["", ""], [None, None]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
            finishes[choice["index"]] = choice["finish_reason"] or finishes[choice["index"]]
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert finishes == [choice["finish_reason"] for choice in whole["choices"]]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert (chunks[-1].get("usage") == whole["usage"]) is with_usage
    assert all("usage" in chunk for chunk in chunks) is with_usage


@pytest.mark.parametrize("prompt", ["ab cd", ["ab cd"], ["ab", "cd"], [65, 66, 67], [[65], [66, 67]]])
def test_completions_take_texts_and_ids(api: Any, prompt: Any) -> None:
    body = {"prompt": prompt, "model": "fast", "n": 2, "max_tokens": 3}
    plain, echoed = (api.post(COMPLETIONS, body | {"echo": echo}).json()["choices"] for echo in (False, True))
    rows = 2 * (len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1)
    assert [choice["index"] for choice in plain] == list(range(rows))
    for choice, with_prompt in zip(plain, echoed, strict=True):
        assert with_prompt["text"].endswith(choice["text"])
        assert len(with_prompt["text"]) > len(choice["text"])
    chunks = events_of(api.post(COMPLETIONS, body | {"echo": True, "stream": True}))
    texts = [""] * rows
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [choice["text"] for choice in echoed]


def test_token_ids_are_returned_on_request(api: Any) -> None:
    body = {"prompt": [[65, 66], [67]], "model": "fast", "max_tokens": 3, "return_token_ids": True, "n": 2}
    whole = api.post(COMPLETIONS, body).json()["choices"]
    assert [choice["prompt_token_ids"] for choice in whole] == [[65, 66], [65, 66], [67], [67]]
    assert [choice["token_ids"] for choice in whole] == [[65, 66, 65]] * 2 + [[67, 67, 67]] * 2
    prompts: list[list[int]] = [[], [], [], []]
    said: list[list[int]] = [[], [], [], []]
    for chunk in events_of(api.post(COMPLETIONS, body | {"stream": True})):
        for choice in chunk["choices"]:
            prompts[choice["index"]] += choice.get("prompt_token_ids", [])
            said[choice["index"]] += choice.get("token_ids", [])
    assert prompts == [choice["prompt_token_ids"] for choice in whole]
    assert said == [choice["token_ids"] for choice in whole]
    assert "token_ids" not in api.post(COMPLETIONS, body | {"return_token_ids": False}).text


def test_a_prompt_gets_no_template(api: Any) -> None:
    """The stub repeats the prompt: there is no template around it."""
    choice = api.post(COMPLETIONS, {"prompt": "ab", "max_tokens": 4}).json()["choices"][0]
    assert set(choice["text"]) <= set("ab")


def test_the_best_of_all_answers_are_all_answers(api: Any) -> None:
    body = {"prompt": "ab", "max_tokens": 2, "model": "fast", "n": 2}
    whole, best = api.post(COMPLETIONS, body).json(), api.post(COMPLETIONS, body | {"best_of": 2}).json()
    assert best["choices"] == whole["choices"]


def test_stop_texts_end_an_answer(api: Any) -> None:
    body = {"prompt": "x y z", "max_tokens": 8, "model": "fast"}
    assert "y" in api.post(COMPLETIONS, body).json()["choices"][0]["text"]
    stopped = api.post(COMPLETIONS, body | {"stop": ["", "y"]}).json()["choices"][0]
    assert "y" not in stopped["text"]
    assert stopped["finish_reason"] == "stop"


def test_models_are_listed_while_they_load(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.state.supervisor, "models", {})
    entries = api.get("/v1/models").json()["data"]
    assert [(entry["id"], entry["status"]) for entry in entries] == [
        ("fast", "loading"),
        ("long", "loading"),
        ("failing", "loading"),
    ]


def test_stop_token_ids_end_a_chat_and_a_completion(api: Any) -> None:
    """The engine of these tests repeats the prompt."""
    body = {"prompt": [70, 71, 72], "max_tokens": 3, "model": "long", "return_token_ids": True}
    assert api.post(COMPLETIONS, body).json()["choices"][0]["token_ids"] == [70, 71, 72]
    assert api.chat(model="fast", max_tokens=3, stop_token_ids=[2]).status_code == 200


def test_beam_search_does_not_stream(api: Any) -> None:
    assert_error(api.chat(num_beams=2, stream=True), 400, "num_beams", "unsupported_value")
    assert api.chat(num_beams=2).status_code == 200


def test_models_are_listed_and_picked(api: Any) -> None:
    listed = [model["id"] for model in api.get("/v1/models").json()["data"]]
    assert listed == ["fast", "long", "failing"]
    assert api.get("/v1/models/long").json()["id"] == "long"
    assert api.chat(model="long", max_tokens=2).json()["model"] == "long"
    assert api.chat().json()["model"] == "fast"
    assert_error(api.get("/v1/models/none"), 404, "model", "model_not_found")
    assert_error(api.chat(model="fastt"), 404, "model", "model_not_found")
    assert "Did you mean 'fast'" in api.chat(model="fastt").text


HARMLESS = [
    {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "parallel_tool_calls": True},
    {"tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "logit_bias": {}, "functions": None},
    {"presence_penalty": 0, "frequency_penalty": 0.0, "modalities": ["text"], "reasoning_effort": None},
    {"logprobs": False, "top_logprobs": 0, "verbosity": "medium", "reasoning_effort": "none"},
    {"max_tokens": 5, "max_completion_tokens": 5, "top_k": 3, "repetition_penalty": 1.1, "seed": -3},
    {"messages": [*ASK, {"role": "assistant", "content": "Yes,"}]},
    {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "x", "name": "Eve"}]},
    {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {}}],
            }
        ]
    },
    {
        "messages": [
            *ASK,
            {"role": "assistant", "content": "x", "refusal": None, "tool_calls": None, "annotations": []},
            *ASK,
        ]
    },
]


@pytest.mark.parametrize("fields", HARMLESS)
def test_fields_without_effect_are_accepted(api: Any, fields: dict[str, Any]) -> None:
    assert api.chat(**fields).status_code == 200


REFUSED = [
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"logit_bias": {"5": 3}}, "logit_bias"),
    ({"reasoning_effort": "high"}, "reasoning_effort"),
    ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs"),
    ({"temprature": 1}, "temprature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 1e30}, "max_tokens"),
    ({"max_tokens": 100_001}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 5}, "n"),
    ({"n": 10**9}, "n"),
    ({"stop": ["x"] * 1000}, "stop"),
    ({"stop": 5}, "stop"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": "0.5"}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"seed": 2**70}, "seed"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": [5]}, "messages.0"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "x", "colour": "red"}]}, "messages.colour"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "bold": 1}]}]}, "messages.content.bold"),
    ({"messages": [{"role": "assistant", "content": "I first?"}]}, "messages"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_unsupported_fields_are_refused_by_name(api: Any, fields: dict[str, Any], param: str) -> None:
    assert_error(api.chat(**fields), 400, param)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://127.0.0.1:6666\\@example.org",
        "file:///etc/passwd",
        "/etc/passwd",
    ],
)
def test_nothing_but_text_is_taken(api: Any, url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    response = api.chat(messages=[{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}])
    assert_error(response, 400, "messages", "unsupported_content")
    assert "passwd" not in response.text


def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(api: Any) -> None:
    response = api.post(COMPLETIONS, {"prompt": [65] * 4096, "max_tokens": 1})
    assert_error(response, 400, "prompt", "context_length_exceeded")
    assert response.text.count("4,096") == 2
    assert api.post(COMPLETIONS, {"prompt": [65] * 4095, "max_tokens": 1}).status_code == 200
    assert_error(api.chat(messages=[{"role": "user", "content": "word " * 9000}]), 400, None, "context_length_exceeded")


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ""},
        {"prompt": []},
        {"prompt": [""]},
        {"prompt": [[]]},
        {"prompt": [-1]},
        {"prompt": [9999]},
        {"prompt": [1, "a"]},
        {"prompt": {"a": 1}},
        {"prompt": ["a"] * 17},
        {"prompt": "x", "max_tokens": 0},
        {"prompt": "x", "logprobs": 21},
        {"prompt": "x", "logprobs": True},
        {"prompt": "x", "best_of": 4},
        {"prompt": "x", "suffix": "y"},
        {"prompt": "x", "echo": True, "logprobs": 1},
        {},
    ],
)
def test_invalid_completions_are_refused(api: Any, body: dict[str, Any]) -> None:
    """The last but one: a stub has no probabilities to give."""
    assert_error(api.post(COMPLETIONS, body), 400)


BODIES = {
    "empty": b"",
    "not json": b"{",
    "truncated": b'{"messages": [{"role": "user", "cont',
    "byte order mark": b'\xef\xbb\xbf{"messages": []}',
    "utf-16": '{"messages": []}'.encode("utf-16"),
    "not utf-8": b'{"messages": [{"role": "user", "content": "\xff"}]}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 30_000,
    "twice": b'{"temperature": 1, "temperature": 2, "messages": [{"role": "user", "content": "x"}]}',
    "NaN": b'{"temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
    "1e999": b'{"temperature": 1e999, "messages": [{"role": "user", "content": "x"}]}',
    "surrogate": rb'{"messages": [{"role": "user", "content": "\ud800"}]}',
    "surrogate key": rb'{"\ud800": 1, "messages": [{"role": "user", "content": "x"}]}',
    "surrogate in a number": rb'{"temperature": "\ud800", "messages": [{"role": "user", "content": "x"}]}',
    "array": b"[]",
    "number": b"5",
    "null": b"null",
    "digits": b'{"seed": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/"])
@pytest.mark.parametrize("name", BODIES)
def test_broken_bodies_are_refused(api: Any, name: str, path: str) -> None:
    response = api.client.post(path, content=BODIES[name], headers={"content-type": "application/json"})
    assert_error(response, 400)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json; charset=utf-16", "", "multipart/form-data; boundary=x"]
)
def test_other_types_of_body_are_refused(api: Any, kind: str) -> None:
    response = api.client.post(CHAT, content=b"{}", headers={"content-type": kind} if kind else {})
    assert_error(response, 415, None, "unsupported_media_type")
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    assert "Content-Encoding" in api.client.post(CHAT, content=b"x", headers=packed).json()["error"]["message"]


def test_every_path_has_the_one_shape_of_error(api: Any) -> None:
    assert_error(api.get("/nowhere"), 404)
    assert_error(api.get("/v1/chat/completions"), 405)
    assert_error(api.client.delete("/v1/models"), 405)
    assert_error(api.post("/register_worker", {}), 404)
    assert_error(api.client.request("TRACE", "/"), 405)
    assert_error(api.client.post(CHAT, content=b"x" * 300_000, headers={"content-type": "application/json"}), 413)

    def endless() -> Any:
        for _ in range(1000):
            yield b"x" * 1000

    assert_error(api.client.post(CHAT, content=endless(), headers={"content-type": "application/json"}), 413)


def test_a_failing_engine_is_503_and_says_nothing_of_its_inside(api: Any) -> None:
    response = api.chat(model="failing")
    assert_error(response, 503, None, "engine_failed")
    assert "0xdeadbeef" not in response.text
    stream = api.chat(model="failing", stream=True)
    assert stream.status_code == 200
    last = stream.text.strip().rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "engine_failed"
    assert "[DONE]" not in stream.text


def test_alpaca_cots_three_routes(api: Any) -> None:
    assert api.get("/").json() == {"Hello": "World"}
    answer = api.get("/query/Say hi/there? 好").json()
    assert set(answer) == {"query", "answer", "time"}
    assert isinstance(answer["time"], float)
    assert api.get("/query/%E5%A5%BD").json()["query"] == "好"
    answer = api.post("/", {"prompt": "Say hi"}).json()
    assert set(answer) == {"response", "status", "time"}
    assert answer["status"] == 200
    assert len(answer["time"]) == len("2026-01-01 00:00:00")
    assert_error(api.post("/", {"prompt": ""}), 400, "prompt")
    assert_error(api.get("/query/"), 400)


def test_status_routes(api: Any) -> None:
    assert httpx.get(f"{api.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{api.url}/ready").json() == {"status": "ready"}
    before = api.metric("camelid_generated_tokens_total")
    api.chat(max_tokens=3)
    assert api.metric("camelid_generated_tokens_total") == before + 3
    assert 'path="/v1/chat/completions",status="200"' in api.get("/metrics").text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "model",
    "messages",
    "prompt",
    "temperature",
    "n",
    "stop",
    "stream",
    "logprobs",
    "max_tokens",
    "seed",
    "tools",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), values, max_size=4), st.booleans())
def test_random_requests_never_give_500(api: Any, fields: dict[str, Any], chat: bool) -> None:
    body = ({"messages": ASK} if chat else {"prompt": "x", "max_tokens": 2}) | fields
    text = json.dumps(body)  # NaN, infinities and lone surrogates go out as they are
    response = api.client.post(
        CHAT if chat else COMPLETIONS, content=text, headers={"content-type": "application/json"}
    )
    assert response.status_code in (200, 400, 404, 413), response.text
    if response.status_code != 200:
        assert_error(response, response.status_code)
