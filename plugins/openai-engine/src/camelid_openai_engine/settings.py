"""What this plugin can be set up with: the API key of one server, for jobs too, which see no credential of the
environment."""

from __future__ import annotations

from urllib.parse import urlsplit

from camelid_core.config import Config
from camelid_core.plugin_settings import PluginSettings
from pydantic import SecretStr


class OpenAIEngineSettings(Config):
    url: str = ""
    """Base URL of the server that `key` is for: http://HOST:PORT. No other server is sent it."""
    key: SecretStr = SecretStr("")
    """API key of the server at `url`, where neither CAMELID_ENGINE_KEY nor `key_file` gives one."""

    def key_for(self, url: str) -> str:
        """The key if it is for the server at `url`, else nothing."""
        return self.key.get_secret_value().strip() if self.url and _origin(self.url) == _origin(url) else ""


SETTINGS = PluginSettings("openai-engine", OpenAIEngineSettings)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port
