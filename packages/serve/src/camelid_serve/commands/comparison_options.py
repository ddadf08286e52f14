"""Options that `camelid eval context` and `camelid eval passkey` share: several models, context lengths, RoPE scalings.

Knows the command line. Knows nothing of models.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

import typer
from camelid_core.config import parse_overrides, validate

from camelid_serve.evaluations.long_context_config import ContextConfig, PasskeyConfig

ComparedT = TypeVar("ComparedT", ContextConfig, PasskeyConfig)

Models = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Models and adapters to compare, and any field=value.")
]
Lengths = Annotated[str, typer.Option(help="Context lengths in tokens: 256,512,1024.", show_default=False)]
Rope = Annotated[str, typer.Option(help="RoPE scalings to compare too: linear:2,dynamic:2,yarn:2.", show_default=False)]
OVERRIDE = re.compile(r"[a-z_]+=")


def configure_comparison(
    cls: type[ComparedT], given: list[str], lengths: str, rope: str, values: dict[str, Any]
) -> ComparedT:
    """The configuration from arguments and options.

    Raises:
        ConfigError: an unknown field or a value out of bounds.
    """
    overrides = [each for each in given if OVERRIDE.match(each)]
    models = [each for each in given if each not in overrides]
    lists = {"models": models, "lengths": _parts(lengths), "rope": _parts(rope)}
    given_lists = {key: value for key, value in lists.items() if value}
    return validate(cls, given_lists | values | parse_overrides(overrides), "the options").with_absolute_paths()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
