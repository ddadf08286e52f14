"""YAML as configurations may use it: safe, without aliases or repeated keys, and `3e-4` is a number.

Knows text. Knows no configuration.
"""

from __future__ import annotations

import re
from typing import Any

import yaml


class _SafeLoader(yaml.SafeLoader):
    """Safe YAML without aliases or repeated keys; `3e-4` is a number as it is in TOML and JSON."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise yaml.YAMLError(f"key {sorted(map(str, repeated))[0]!r} stands twice")
        return super().construct_mapping(node, deep)


_SafeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def loads(text: str) -> Any:
    """
    Raises:
        ValueError: it is no such YAML.
    """
    try:
        return yaml.load(text, Loader=_SafeLoader)  # noqa: S506 - derived from SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
