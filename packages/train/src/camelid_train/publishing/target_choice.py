"""Where `--to` leads: the Hub, or a local hub. Knows both names."""

from __future__ import annotations

from camelid_core.errors import UsageError
from camelid_core.paths import LOCAL_HUB_PREFIX, validated_path

from .hub_target import HubTarget
from .publish_config import THE_HUB


def open_target(to: str, public: bool = False) -> HubTarget:
    """The target that `to` names. Raises UsageError: a file is there."""
    if to == THE_HUB:
        from .hugging_face import HuggingFace

        return HuggingFace(public)
    from .local_hub import LocalHub

    directory = validated_path(to.removeprefix(LOCAL_HUB_PREFIX), "hub")
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{str(directory)!r} is a file; a local hub is a directory.")
    return LocalHub(directory)
