"""What this plugin can be set up with: where GPTQModel is installed."""

from __future__ import annotations

from camelid_core.config import Config
from camelid_core.plugin_settings import PluginSettings


class GptqSettings(Config):
    python: str = ""
    """Python of another environment that has GPTQModel, such as /opt/gptq/bin/python; empty: Camelid's own."""


SETTINGS = PluginSettings("gptq", GptqSettings)
