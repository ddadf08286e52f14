"""The stored key of a server: sent to that server, and to no other."""

from __future__ import annotations

import pytest
from camelid_core.testing import isolated_home
from camelid_openai_engine.options import ClientOptions
from camelid_openai_engine.settings import SETTINGS
from camelid_serve.engine import ENGINE_KEY


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://gpu:8000", "stored"),
        ("http://GPU:8000/v1", "stored"),
        ("http://gpu:8001", ""),
        ("https://gpu:8000", ""),
        ("http://elsewhere:8000", ""),
    ],
)
def test_the_key_is_for_one_address(tmp_path, monkeypatch, url, key):
    isolated_home(tmp_path, monkeypatch)
    monkeypatch.delenv(ENGINE_KEY, raising=False)
    assert ClientOptions(url=url).key() == ""
    SETTINGS.save({"key": "stored"})
    assert ClientOptions(url=url).key() == ""  # no address says whose it is
    SETTINGS.save({"url": "http://gpu:8000/v1"})
    assert ClientOptions(url=url).key() == key
    monkeypatch.setenv(ENGINE_KEY, "other")
    assert ClientOptions(url=url).key() == "other"
