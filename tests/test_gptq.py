"""GPTQ where its library is: an environment is made as the plugin's page says, and the plugin's tests run there.

GPTQModel pins numpy to a release that the rest does not need, and peft imports it for every LoRA once it is installed:
so it is no part of `make install`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.install, pytest.mark.timeout(1800)]

PLUGIN = Path(__file__).parents[1] / "plugins" / "gptq"
TESTS = PLUGIN / "tests" / "with_gptqmodel.py"


@pytest.fixture(scope="module")
def with_gptqmodel(make_environment):
    """An environment of the packages with the plugin and what it needs, as pip installs it."""
    made = make_environment(without=("numpy",))
    made.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PLUGIN)
    return made


def test_the_plugin_is_sound_and_says_why_auto_gptq_is_not_used(with_gptqmodel):
    assert "gptq" in next(
        row["gives"] for row in with_gptqmodel.json("plugins", "list") if row["plugin"] == "camelid-gptq"
    )
    doctor = with_gptqmodel.run("camelid", "plugins", "doctor").stdout
    assert "auto-gptq" in doctor
    assert "no_init_weights" in doctor


def test_models_are_quantised_and_loaded(with_gptqmodel):
    done = with_gptqmodel.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS, "--rootdir", PLUGIN)
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
