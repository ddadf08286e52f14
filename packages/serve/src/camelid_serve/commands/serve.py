"""`camelid serve MODEL…`: start the OpenAI-compatible HTTP API and print how to call it."""

from __future__ import annotations

import importlib.util
import logging
import secrets
import signal
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from camelid_core.config import parse_overrides, validate
from camelid_core.errors import CamelidError, MissingPackage, UsageError
from camelid_core.models.gguf import is_gguf
from camelid_core.paths import home, validated_path

from camelid_serve.config import EngineConfig

from .common_options import Engine, EngineOption, EngineUrl, check_names, engine_of, given

if TYPE_CHECKING:
    from camelid_serve.api.limits import Limits
    from camelid_serve.api.supervisor import ServedModels

app = typer.Typer(help="Serve models over an OpenAI-compatible HTTP API.")
ADDRESS = "api.json"


@app.command()
def serve(
    artefacts: Annotated[
        list[str],
        typer.Argument(
            help="Models or adapters to serve; `label=NAME` gives one another name in the API. "
            "Those with one base model share it.",
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    token: Annotated[
        bool, typer.Option(help="Ask for a token, made anew at each start, unless keys are given.")
    ] = True,
    api_key: Annotated[
        list[str] | None, typer.Option(help="A key that clients may show; repeat for more.", envvar="CAMELID_API_KEY")
    ] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="A further name the server answers to.")] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="A web page's origin that may send requests here.")
    ] = None,
    template: Annotated[str, typer.Option(help="Prompt template; empty takes each model's own.")] = "",
    engine: Engine = "transformers",
    engine_url: EngineUrl = "",
    engine_option: EngineOption = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="dtype of the weights.")
    ] = "auto",
    slots: Annotated[
        int | None, typer.Option(help="Slots: requests that run at once in the batch.", show_default=False)
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="A limit as field=value, for example queue=64 or request_seconds=60; repeat for more."),
    ] = None,
    allow_adapters: Annotated[
        int | None,
        typer.Option(
            help="How many adapters of the served base models clients may load from Camelid's home while it runs.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Serve models under /v1, with /health, /ready and /metrics. One key is asked for, and printed at the start."""
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(f"the API needs {package}, which is not here; pip install 'camelid-serve[api]'.")
    from camelid_core.server_address import is_loopback, listening_socket

    from camelid_serve.api.limits import Limits

    keys = [key for key in api_key or [] if key]
    made = token and not keys
    if made:
        keys = [secrets.token_urlsafe(24)]
    if not keys and not is_loopback(host):
        raise UsageError(
            f"--host {host} lets other machines in, and --no-token lets anyone ask. "
            "Leave out --no-token, give an --api-key, or listen on 127.0.0.1 and forward the port (ssh -L)."
        )
    limits = validate(Limits, parse_overrides(limit or []) | given(slots=slots, adapters=allow_adapters), "the limits")
    engine_config = EngineConfig(
        template=template,
        dtype=dtype,
        engine=engine_of(engine, engine_url, engine_option),
        slots=limits.slots,
    )
    serving = _serving(artefacts, engine_config)
    with listening_socket(host, port) as listener:
        _run(listener, serving, limits, keys, made, host, allow_host or [], allow_origin or [])


def _serving(artefacts: list[str], engine_config: EngineConfig) -> ServedModels:
    """What to load. Unknown names are refused before anything starts."""
    from camelid_serve.api.supervisor import ServedModels, models_by_label

    models = models_by_label([_with_absolute_paths(name) for name in artefacts])
    check_names(models.values(), engine_config)
    return ServedModels(models, engine_config)


def _with_absolute_paths(given_name: str) -> str:
    """A directory or file by its whole path, under the name it was given by."""
    label, equals, name = given_name.rpartition("=")
    if not name or (equals and not label):
        raise UsageError(
            f"{given_name!r} names no model; write MODEL, or LABEL=MODEL to give it another name in the API."
        )
    place = validated_path(name, "model")
    if is_gguf(place):
        path = place.absolute()
    elif place.is_dir():
        path = place.resolve()
    else:
        return given_name
    return f"{label if equals else path.name}={path}"


def _run(
    listener: Any, serving: ServedModels, limits: Limits, keys: list[str], made: bool, host: str, *more: list[str]
) -> None:
    from camelid_core.server_address import address_file, host_names, url_host

    from camelid_serve.api.app import build_app, with_guard
    from camelid_serve.api.server import server

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("camelid.api").setLevel(logging.INFO)
    port = listener.getsockname()[1]
    failures: list[CamelidError] = []

    def started(error: CamelidError | None) -> None:
        if error is not None:
            failures.append(error)
            running.should_exit = True
        else:
            typer.echo(f"Ready: {', '.join(serving.models)}.")

    application = build_app(serving, limits, started=started)
    hosts, origins = more
    running = server(with_guard(application, keys, host_names(host, hosts), origins), application.state.serving)
    url = f"http://{url_host(host)}:{port}/v1"
    _announce(url, next(iter(serving.models)), keys, made)
    signal.signal(signal.SIGTERM, _leave)  # uvicorn hands the signal on when it has shut down
    with address_file(home() / ADDRESS, {"url": url, "port": port, "token": keys[0] if keys else ""}):
        running.run(sockets=[listener])
    if failures:
        raise failures[0]


def _leave(*_: object) -> None:
    """End by unwinding, so that the address file goes too."""
    raise SystemExit(0)


def _announce(url: str, model: str, keys: list[str], made: bool) -> None:
    """A key that was made for this run is shown; one that was given is its owner's to keep."""
    typer.echo(f"Camelid answers at {url}" + (f" with the key {keys[0]}" if made else ""))
    key = f" -H 'Authorization: Bearer {keys[0] if made else 'YOUR KEY'}'" if keys else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello?"}}]}}'
    typer.echo(f"  curl {url}/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'")
    typer.echo("Ctrl-C ends it, once the answers under way are complete.")
