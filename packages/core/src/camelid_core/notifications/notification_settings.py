"""Where ends of jobs are announced: webhooks, kept with the settings of plugins in one private file.

Knows URLs and which of them are opened. Knows no jobs.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr

from camelid_core.config import Config
from camelid_core.datasets.url_policy import OWN_NETWORK, PUBLIC, UrlPolicy, split_url
from camelid_core.errors import UsageError
from camelid_core.plugin_settings import PluginSettings

SECONDS = 5.0
"""How long a webhook may take to answer."""


class Webhook(Config):
    """An address that is sent a message when a job has ended."""

    url: str
    """Its URL."""
    own_network: bool = False
    """Whether http, and addresses of this machine and its network, are allowed too."""

    @property
    def policy(self) -> UrlPolicy:
        policy = OWN_NETWORK if self.own_network else PUBLIC
        return UrlPolicy(policy.schemes, policy.allows, SECONDS)

    @property
    def shown(self) -> str:
        """Without what may be a key: its path and query."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/…"

    def check(self) -> None:
        """Raises UsageError: such a URL is not opened, whatever its host's addresses are."""
        split_url(self.url, self.policy)


class NotificationSettings(Config):
    """Who is told of the end of every job."""

    webhooks: list[Webhook] = []
    """Webhooks: `camelid jobs notify add URL`."""
    secret: SecretStr = SecretStr("")
    """Key of the signature in X-Camelid-Signature; empty sends none."""
    page: str = ""
    """Address of the pages for links in messages; empty is that of the pages which run on this machine."""


NOTIFICATIONS = PluginSettings("notifications", NotificationSettings)


def add_webhook(webhook: Webhook) -> None:
    """Tell it of the end of every job from now on.

    Raises:
        UsageError: it is there already, or is not opened.
    """
    webhook.check()
    known = NOTIFICATIONS.load().webhooks
    if any(each.url == webhook.url for each in known):
        raise UsageError(f"{webhook.shown} is told already; `camelid jobs notify list` shows all.")
    _store([*known, webhook])


def remove_webhook(number: int) -> Webhook:
    """Raises UsageError: there is none of that number, which counts from 1."""
    known = NOTIFICATIONS.load().webhooks
    if not 1 <= number <= len(known):
        raise UsageError(f"There is no webhook {number}; `camelid jobs notify list` numbers them.")
    removed = known.pop(number - 1)
    _store(known)
    return removed


def _store(webhooks: list[Webhook]) -> None:
    NOTIFICATIONS.save({"webhooks": [each.model_dump() for each in webhooks]})
