"""Whether an error means that a server could not be reached, or was overloaded: trying again later may help.

Knows the error classes of network libraries by name, and imports none of them.
"""

from __future__ import annotations

_LIBRARIES = {"requests", "urllib3", "httpx", "httpcore", "aiohttp", "huggingface_hub"}
_UNREACHABLE = {
    "ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout", "Timeout",
    "ReadError", "WriteError", "RemoteProtocolError", "ProtocolError", "IncompleteRead", "NewConnectionError",
    "MaxRetryError", "ClientConnectionError",
}  # fmt: skip
_CHOSEN = {"OfflineModeIsEnabled"}
_BUSY = {408, 429, 500, 502, 503, 504}


def is_connection_error(error: BaseException) -> bool:
    mro = type(error).__mro__
    if type(error).__module__.partition(".")[0] not in _LIBRARIES or _CHOSEN & {cls.__name__ for cls in mro}:
        return False
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status in _BUSY if status is not None else bool(_UNREACHABLE & {cls.__name__ for cls in mro})
