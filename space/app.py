"""Camelid's demo pages on a Hugging Face Space: everything to look at, one small model to chat with.

The packages are beside this file as sources. Nothing is installed, so plugins are listed in `plugins.json`; child
processes find both through environment variables.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = str(HERE / "packages")
PLUGINS = json.loads((HERE / "plugins.json").read_text(encoding="utf-8"))

os.environ.setdefault("CAMELID_HOME", str(Path(tempfile.gettempdir()) / "camelid"))
os.environ["CAMELID_PLUGINS"] = " ".join(f"{each['name']}=={each['version']}={each['module']}" for each in PLUGINS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, SOURCES)

if __name__ == "__main__":
    from camelid_ui.public_server import serve

    serve()
