"""A stub job's attempt, as cheap as a process can be: it imports nothing of Camelid.

Started by the real `LocalExecutor` as a real attempt is. Not even pathlib: that alone
would be a quarter of it. Knows the two files an attempt leaves, `output/` and
`result.json`, and how to misbehave. What it does stands in `stub.json` of its directory.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys

_SLEEP = ["sleep", "600"]
_MANIFEST = {"schema_version": 1, "kind": "evaluation", "created": ""}


def main() -> int:
    with open("stub.json", encoding="utf-8") as file:
        spec = json.load(file)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})
    how = spec["how"]
    if how == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        return 3
    if how == "loud":
        os.write(1, b"\0binary and no end of line " * 20_000)
    if how == "orphans":
        _start_orphans()
    if how == "fail":
        _write_result({"how": "failed", "message": "The stub was told to fail.", "kind": "stub"})
        return 1
    if how != "nothing":
        write_output(spec)
    _write_result({"how": "succeeded", "summary": {}, "publish_to": None})
    return 0


def write_output(spec: dict[str, object]) -> None:
    """An artefact with a manifest, as `camelid_core.artefacts` has it."""
    data = json.dumps(spec).encode()
    files = {"stub.json": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    os.mkdir("output")
    for name, content in (("stub.json", data), ("camelid.json", json.dumps(_MANIFEST | {"files": files}).encode())):
        with open(f"output/{name}", "wb") as file:
            file.write(content)


def _start_orphans() -> None:
    """One in our process group, and one that has a session and a parent of its own."""
    for leaves in (False, True):
        if os.fork() == 0:
            if leaves:
                os.setsid()
                if os.fork():
                    os._exit(0)
            os.execvp(_SLEEP[0], _SLEEP)


def _write_result(result: dict[str, object]) -> None:
    with open("result.partial", "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.rename("result.partial", "result.json")


if __name__ == "__main__":
    sys.exit(main())
