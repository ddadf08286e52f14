"""Addresses without the user and the password that may stand in them.

Knows how addresses and proxies are written, and which variables of an environment name a proxy. Knows nothing of who
uses them.
"""

from __future__ import annotations

import re

_IN_ADDRESS = re.compile(r"(?<=://)[^\s/?#]*@")
_IN_PROXY = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.DOTALL | re.IGNORECASE)
"""A proxy may be written without a scheme, and has nothing behind its port: what is before the last @ is no part of
it, whatever the password is made of."""


def without_userinfo(name: str, value: str) -> str:
    """The value of the variable `name`, with every address in it as it is for somebody whom nobody knows."""
    proxy = name.lower().endswith("_proxy") and name.lower() != "no_proxy"
    return _IN_PROXY.sub(r"\1", value) if proxy else _IN_ADDRESS.sub("", value)
