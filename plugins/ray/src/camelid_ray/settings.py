"""What this plugin can be set up with: which cluster, its token, and what an attempt takes of it."""

from __future__ import annotations

from camelid_core.config import Config
from camelid_core.plugin_settings import PluginSettings
from pydantic import Field, SecretStr


class RaySettings(Config):
    address: str = "http://127.0.0.1:8265"
    """Address of the cluster's Jobs API (its dashboard): https://HOST:PORT, or http on this machine, as of a tunnel."""
    token: SecretStr = SecretStr("")
    """Token of the cluster; empty takes Ray's own: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token."""
    plain_http: bool = False
    """Send the token over http to another machine: everybody on the network between reads it."""
    python: str = ""
    """Python with Camelid on the cluster's machines; empty takes the path of the worker's own."""
    cpus: float = Field(1.0, ge=0)
    """CPU cores that each process of an attempt takes of the cluster."""
    gpus: float = Field(0.0, ge=0)
    """GPUs that each process of an attempt takes of the cluster."""
    silence_seconds: float = Field(60.0, ge=5, le=3600)
    """How long the cluster may not answer before its attempts count as lost."""


SETTINGS = PluginSettings("ray", RaySettings)
