"""Adapters that clients load and unload: only where that is allowed, only from home, and a restart keeps them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from camelid_core.errors import ModelError
from camelid_serve.engine_process.client import EngineProcess

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


def publish(home: Path, name: str) -> Path:
    """What stands for an adapter: the stub takes its behaviour from the directory's name."""
    directory = home / "artefacts" / name
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text("{}", encoding="utf-8")
    return directory


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, str(response.json()["error"]["code"])


def labels(served: Any) -> list[str]:
    return [model["id"] for model in served.get("/v1/models").json()["data"]]


def test_loading_adapters_is_off_by_default(serve: Callable[..., Any], home: Path) -> None:
    publish(home, "tokens=3")
    served = serve({"fast": "tokens=8"})
    refused = served.post(LOAD, {"lora_name": "mine", "lora_path": "tokens=3"})
    assert code(refused) == (403, "adapters_not_allowed")
    assert "--allow-adapters" in refused.text
    assert code(served.post(UNLOAD, {"lora_name": "fast"})) == (403, "adapters_not_allowed")
    assert served.post(LOAD, {"lora_name": "mine"}, headers={"authorization": "Bearer no"}).status_code == 401
    assert labels(served) == ["fast"]


def test_adapters_are_loaded_and_unloaded(serve: Callable[..., Any], home: Path) -> None:
    served = serve({"fast": "tokens=8"}, adapters=2)
    for number in (1, 2, 3):
        publish(home, f"tokens={number}")
    loaded = served.post(LOAD, {"lora_name": "one", "lora_path": "tokens=1"})
    assert (loaded.status_code, loaded.json()["id"]) == (200, "one")
    whole = str(home / "artefacts" / "tokens=2")
    assert served.post(LOAD, {"lora_name": "two", "lora_path": whole}).status_code == 200
    assert labels(served) == ["fast", "one", "two"]
    assert served.chat(model="two").json()["usage"]["completion_tokens"] == 2
    assert code(served.post(LOAD, {"lora_name": "three", "lora_path": "tokens=3"})) == (400, "too_many")
    assert code(served.post(LOAD, {"lora_name": "one", "lora_path": "tokens=3"})) == (400, "invalid_value")
    assert served.post(UNLOAD, {"lora_name": "one"}).json() == {"id": "one", "object": "model", "deleted": True}
    assert labels(served) == ["fast", "two"]
    assert code(served.chat(model="one")) == (404, "model_not_found")
    assert code(served.post(UNLOAD, {"lora_name": "one"})) == (404, "model_not_found")
    assert code(served.post(UNLOAD, {"lora_name": "fast"})) == (400, "invalid_value")
    publish(home, "broken")
    refused = served.post(LOAD, {"lora_name": "b", "lora_path": "broken"})
    assert code(refused) == (400, "invalid_value")
    assert "cannot be loaded" in refused.text
    assert labels(served) == ["fast", "two"]
    assert served.post(UNLOAD, {"lora_name": "two"}).status_code == 200
    unloading = served.state.supervisor.remove("fast")  # as for an adapter that is the last on its base
    with pytest.raises(ModelError, match="'fast' is all"):
        asyncio.run_coroutine_threadsafe(unloading, served.state.supervisor.loop).result()


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "../outside",
        "/etc",
        "..",
        ".",
        "tokens=1/../../../outside",
        "~",
        "a\0b",
        "x" * 1000,
        "link",
        "é" * 300,
    ],
)
def test_only_adapters_in_home_can_be_loaded(serve: Callable[..., Any], home: Path, path: str) -> None:
    publish(home, "tokens=1")
    outside = home.parent / "outside"
    outside.mkdir()
    (outside / "adapter_config.json").write_text("{}", encoding="utf-8")
    (home / "artefacts" / "link").symlink_to(outside)
    served = serve({"fast": "tokens=8"}, adapters=2)
    assert code(served.post(LOAD, {"lora_name": "mine", "lora_path": path})) == (404, "model_not_found")
    assert labels(served) == ["fast"]


@pytest.mark.slow
def test_a_restart_loads_the_added_adapters_again(serve: Callable[..., Any], home: Path) -> None:
    own = EngineProcess("camelid_serve.testing")
    served = serve({"fast": "tokens=8", "mortal": "tokens=9,die=3"}, own=own, adapters=3)
    for name in ("tokens=1", "tokens=2"):
        publish(home, name)
        assert served.post(LOAD, {"lora_name": name[-1], "lora_path": name}).status_code == 200
    served.post(UNLOAD, {"lora_name": "1"})
    gone = publish(home, "tokens=3")
    served.post(LOAD, {"lora_name": "3", "lora_path": "tokens=3"})
    gone.joinpath("adapter_config.json").unlink()
    served.state.supervisor.added["3"] = str(gone.with_name("broken"))
    assert served.chat(model="mortal").status_code == 503
    served.until(lambda: served.get("/ready").status_code == 200)
    assert labels(served) == ["fast", "mortal", "2"]
    assert served.chat(model="2").json()["usage"]["completion_tokens"] == 2
    assert json.loads(served.post(UNLOAD, {"lora_name": "2"}).text)["deleted"]
