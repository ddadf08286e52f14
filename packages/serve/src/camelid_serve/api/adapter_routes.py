"""LoRA adapters that clients load and unload while the server runs, by the routes that vLLM has for it.

Knows paths and which directories a client may name: those in Camelid's home, as `camelid serve` finds them by name.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from camelid_core.errors import CamelidError
from camelid_core.paths import artefacts_dir, models_dir
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from .errors import ApiError, printable
from .openai_routes import model_entry
from .schemas import StrictModel
from .state import ServerState
from .strict_json import StrictRoute

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["Adapters"])

Label = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x20\x7f]+$")]


class LoadAdapter(StrictModel):
    """Load an adapter and serve it."""

    lora_name: Label
    """The name by which requests select it in `model`."""
    lora_path: Annotated[str, Field(min_length=1, max_length=1024)]
    """A published artefact's name, or its directory in Camelid's home."""
    load_inplace: Literal[False] | None = None
    """Not supported: unload the adapter first."""


class UnloadAdapter(StrictModel):
    """Unload an adapter."""

    lora_name: Label
    """The name under which it was loaded."""
    lora_int_id: int | None = None
    """Accepted and without effect."""


@router.post("/load_lora_adapter", summary="Serve one more adapter of a served base")
async def load(wanted: LoadAdapter, request: Request) -> JSONResponse:
    state, name = _state(request), wanted.lora_name
    directory = _adapter(wanted.lora_path)
    async with state.supervisor.changing:
        if name in state.supervisor.models:
            raise ApiError(
                400, f"{printable(name)!r} is served already; unload it first.", "invalid_value", "lora_name"
            )
        most = state.limits.adapters
        if len(state.supervisor.added) >= most:
            message = f"clients may have {most} adapters loaded here; unload one first."
            raise ApiError(400, message, "too_many", "lora_name")
        try:
            await state.supervisor.add(name, str(directory))
        except CamelidError as error:
            raise _refused(state, error, "lora_path") from None
        return JSONResponse(model_entry(state, name))


@router.post("/unload_lora_adapter", summary="Unload an adapter, once its running answers have ended")
async def unload(wanted: UnloadAdapter, request: Request) -> JSONResponse:
    state = _state(request)
    async with state.supervisor.changing:
        name = state.model(wanted.lora_name, "lora_name")
        if not state.supervisor.models[name].has_adapter:
            raise ApiError(400, f"{printable(name)!r} is no adapter.", "invalid_value", "lora_name")
        try:
            await state.supervisor.remove(name)
        except CamelidError as error:
            raise _refused(state, error, "lora_name") from None
        return JSONResponse({"id": name, "object": "model", "deleted": True})


def _state(request: Request) -> ServerState:
    """The server's state, if clients may load adapters.

    Raises:
        ApiError: they may not (403), or nothing is ready (503).
    """
    state: ServerState = request.app.state.serving
    if not state.limits.adapters:
        message = "clients may not load adapters here; start the server with --allow-adapters NUMBER."
        raise ApiError(403, message, "adapters_not_allowed")
    state.model(None)
    return state


def _refused(state: ServerState, error: CamelidError, param: str) -> ApiError:
    if not state.supervisor.alive:
        return ApiError(503, "the engine is being started again.", "not_ready", retry_after=5)
    return ApiError(400, str(error), "invalid_value", param)


def _adapter(name: str) -> Path:
    """The directory of an adapter below Camelid's home; links that lead out of it are not followed.

    Raises:
        ApiError: there is none of that name, or it is no adapter.
    """
    shown = printable(name, 200)
    for root in (artefacts_dir(), models_dir()):
        with suppress(OSError, ValueError):  # names that no file can have
            path = (root / name).resolve()
            if root.resolve() not in path.parents or not path.is_dir():
                continue
            if (path / "adapter_config.json").is_file():
                return path
            raise ApiError(400, f"{shown!r} is not an adapter.", "invalid_value", "lora_path")
    raise ApiError(404, f"there is no artefact {shown!r} in this server's home.", "model_not_found", "lora_path")
