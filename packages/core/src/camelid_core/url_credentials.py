"""URLs without the user and the password (userinfo) that may be in them.

Knows the syntax of URLs and proxies, and which environment variables name a proxy. Knows nothing of who uses them.
"""

from __future__ import annotations

import re

_USERINFO_IN_URL = re.compile(r"(?<=://)[^\s/?#]*@")
_USERINFO_IN_PROXY = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.DOTALL | re.IGNORECASE)
"""A proxy may be written without a scheme, and has nothing behind its port: what is before the last @ is no part of
it, whatever the password is made of."""


def without_userinfo(name: str, value: str) -> str:
    """The value of the environment variable `name`, with the userinfo of every URL in it removed."""
    proxy = name.lower().endswith("_proxy") and name.lower() != "no_proxy"
    return _USERINFO_IN_PROXY.sub(r"\1", value) if proxy else _USERINFO_IN_URL.sub("", value)
