"""Serve comes in through the hooks, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

from camelid_core.plugins import load_host
from camelid_core.tasks import import_attribute


def test_everything_it_names_is_there() -> None:
    host = load_host()
    assert host.problems == []
    for command in ("chat", "predict", "eval", "serve", "prove"):
        assert import_attribute(host.commands[command].target).registered_commands
    for task in ("predict", "evaluate", "context", "passkey", "prove"):
        host.tasks[task].load_config()
        assert callable(host.tasks[task].load_run())
    assert callable(import_attribute(host.registry("camelid_engines")["transformers"].load))


def test_importing_it_imports_no_model_library() -> None:
    script = (
        "import sys, camelid_serve.plugin as p, camelid_serve.engine_process.client, camelid_serve.config\n"
        "p.camelid_tasks()[-1].load_config()\n"
        "p.camelid_tasks(), p.camelid_engines(), p.camelid_commands()\n"
        "import camelid_serve.commands.chat, camelid_serve.commands.predict, camelid_serve.commands.evaluate\n"
        "import camelid_serve.commands.prove\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
