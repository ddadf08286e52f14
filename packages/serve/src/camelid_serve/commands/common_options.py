"""Options that `chat`, `predict`, `eval` and `serve` share: sampling and engines, and configurations made of them.

Knows the command line. Loads no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from camelid_core.config import Config, parse_overrides, validate
from camelid_core.errors import UsageError

from camelid_serve.config import EngineConfig
from camelid_serve.engine import Sampling
from camelid_serve.engine_spec import format_engine_spec, parse_engine_spec
from camelid_serve.presets import OWN, PRESETS, SUFFIXES, by_name

ConfigT = TypeVar("ConfigT", bound=Config)


def _option(field: str) -> Any:
    return typer.Option(help=Sampling.model_fields[field].description, show_default=False)


Temperature = Annotated[float | None, _option("temperature")]
MaxNewTokens = Annotated[int | None, _option("max_new_tokens")]
Seed = Annotated[int | None, _option("seed")]
Preset = Annotated[
    str, typer.Option(help=f"Sampling preset, which other options override: {', '.join(PRESETS)}.", show_default=False)
]
Suffix = Annotated[
    list[str] | None,
    typer.Option(help=f"Chain-of-thought suffix for every message; repeatable: {', '.join(SUFFIXES)}."),
]

Engine = Annotated[
    str,
    typer.Option("--engine", help="Inference engine (backend); `camelid plugins list` shows the installed ones."),
]
EngineUrl = Annotated[
    str, typer.Option("--engine-url", help="URL of the server for engine `openai`: http://HOST:PORT.")
]
EngineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-option",
        help="A setting of the engine as field=value, for example program=/opt/bin/vllm; repeatable.",
    ),
]


def engine_of(name: str, url: str, options: list[str] | None) -> str:
    """The engine spec of these options."""
    return format_engine_spec(name, [*([f"url={url}"] if url else []), *(options or [])])


def check_names(models: Iterable[str], engine_config: EngineConfig) -> None:
    """Check names without loading anything.

    Raises:
        UnknownName, UsageError, ConfigError, ModelError: no such engine, template or model, or one that is not here.
    """
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.models.template_choice import template_named, template_of
    from camelid_core.plugins import load_host

    host = load_host()
    parse_engine_spec(host.registry("camelid_engines"), engine_config.engine)
    found = [resolve_model(name, host) for name in models]
    for resolved in found:
        template_of(resolved, host, engine_config.template)
    if engine_config.template and not found:
        template_named(engine_config.template, host)


def preset_of(name: str, model: str) -> dict[str, Any]:
    """The sampling parameters of a preset, by field; `own` takes those of the model's makers. Empty without a name.

    Raises:
        UnknownName, ModelError: no such preset, or `own` of a model that is not here.
    """
    if not name:
        return {}
    preset, recommended = by_name("preset", name, PRESETS), None
    if name == OWN:
        from camelid_core.models.resolved_model import resolve_model
        from camelid_core.plugins import load_host

        from camelid_serve.generation_config import recommended_sampling

        recommended = recommended_sampling(resolve_model(model, load_host()))
    return preset.applied(Sampling(), recommended).model_dump(mode="json", exclude_defaults=True)


def given(**values: Any) -> dict[str, Any]:
    """The options that were given: others are None."""
    return {key: value for key, value in values.items() if value is not None}


def configure(cls: type[ConfigT], values: dict[str, Any], sampling: dict[str, Any], overrides: list[str]) -> ConfigT:
    """The configuration from options and `field=value` overrides.

    Raises:
        ConfigError: an unknown field or a value out of bounds.
    """
    extra = parse_overrides(overrides)
    merged = values | extra | {"sampling": sampling | extra.get("sampling", {})}
    return validate(cls, merged, "the options")


def make_parent_directory(target: Path) -> None:
    """Create the parent directory of a file that is to be written later.

    Raises:
        UsageError: it cannot be, or `target` is a directory itself.
    """
    if target.is_dir():
        raise UsageError(
            f"{str(target)!r} is a directory; --out takes a file such as {str(target / 'answers.jsonl')!r}."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {str(target)!r} cannot be written: {error.strerror}. Give another file.") from None
