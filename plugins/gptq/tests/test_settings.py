"""Where GPTQModel is: the plugin's setting, stored or in the environment."""

from __future__ import annotations

import sys

import pytest
from camelid_core.testing import isolated_home
from camelid_gptq.quantiser import missing_library
from camelid_gptq.settings import SETTINGS


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    return isolated_home(tmp_path, monkeypatch)


def test_another_python_counts_if_it_is_there(monkeypatch, tmp_path):
    SETTINGS.save({"python": str(tmp_path / "gone")})
    assert missing_library() == (
        f"the setting python of gptq is {str(tmp_path / 'gone')!r}, and there is no such file; "
        "`camelid plugins settings gptq python=/path/to/bin/python` names another."
    )
    monkeypatch.setenv("CAMELID_GPTQ_PYTHON", sys.executable)
    assert missing_library() == ""
