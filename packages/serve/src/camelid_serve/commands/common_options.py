"""What `chat`, `predict`, `eval` and `serve` share: options for sampling and engines, and what is made of them.

Knows the command line. Loads no model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from camelid_core import staging
from camelid_core.config import Config, parse_overrides, validate
from camelid_core.errors import UsageError

from camelid_serve.config import EngineConfig
from camelid_serve.engine import Sampling
from camelid_serve.engine_spec import format_engine_spec, parse_engine_spec
from camelid_serve.presets import OWN, PRESETS, named

ConfigT = TypeVar("ConfigT", bound=Config)


def _option(field: str) -> Any:
    return typer.Option(help=Sampling.model_fields[field].description, show_default=False)


Temperature = Annotated[float | None, _option("temperature")]
MaxNewTokens = Annotated[int | None, _option("max_new_tokens")]
Seed = Annotated[int | None, _option("seed")]
Preset = Annotated[
    str, typer.Option(help=f"Ready-made sampling that other options change: {', '.join(PRESETS)}.", show_default=False)
]

Engine = Annotated[
    str,
    typer.Option("--engine", help="Engine that runs the models; `camelid plugins list` shows which there are."),
]
EngineUrl = Annotated[
    str, typer.Option("--engine-url", help="Where the server is that engine `openai` asks: http://HOST:PORT.")
]
EngineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-option",
        help="A setting of the engine as field=value, for example program=/opt/bin/vllm; repeatable.",
    ),
]


def engine_of(name: str, url: str, options: list[str] | None) -> str:
    """What was typed for an engine, as one text."""
    return format_engine_spec(name, [*([f"url={url}"] if url else []), *(options or [])])


def check_names(models: Iterable[str], engine_config: EngineConfig) -> None:
    """Loads nothing.

    Raises:
        UnknownName, UsageError, ConfigError, ModelError: no such engine, template or model, or one that is not here.
    """
    from camelid_core.models.reference import resolve_model
    from camelid_core.plugins import load_host

    host = load_host()
    parse_engine_spec(host.registry("camelid_engines"), engine_config.engine)
    if engine_config.template:
        host.templates[engine_config.template]
    for name in models:
        resolve_model(name, host)


def preset_of(name: str, model: str) -> dict[str, Any]:
    """The sampling that a preset asks for, by field; `own` asks the model's makers. Nothing without a name.

    Raises:
        UnknownName, ModelError: no such preset, or `own` of a model that is not here.
    """
    if not name:
        return {}
    preset, own = named("preset", name, PRESETS), None
    if name == OWN:
        from camelid_core.models.reference import resolve_model
        from camelid_core.plugins import load_host

        from camelid_serve.loaded_models import recommended_sampling

        own = recommended_sampling(resolve_model(model, load_host()))
    return preset.applied(Sampling(), own).model_dump(mode="json", exclude_defaults=True)


def given(**values: Any) -> dict[str, Any]:
    """What was typed: options that were not are None."""
    return {key: value for key, value in values.items() if value is not None}


def configure(cls: type[ConfigT], values: dict[str, Any], sampling: dict[str, Any], overrides: list[str]) -> ConfigT:
    """The configuration from options and `field=value` overrides.

    Raises:
        ConfigError: an unknown field or a value out of bounds.
    """
    extra = parse_overrides(overrides)
    merged = values | extra | {"sampling": sampling | extra.get("sampling", {})}
    return validate(cls, merged, "the options")


def place_for(target: Path) -> None:
    """Make the directory of a file that is to be written later.

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


def copy_file(source: Path, target: Path) -> None:
    """Copy so that readers of `target` see the old file or the whole new one.

    Raises:
        UsageError: it cannot be written; the copy that there is stays.
    """
    try:
        with staging.file(target) as staged:
            shutil.copyfile(source, staged)
            staged.replace(target)
    except OSError as error:
        message = f"--out {str(target)!r} cannot be written: {error.strerror}. All is in {str(source)!r}."
        raise UsageError(message) from None
