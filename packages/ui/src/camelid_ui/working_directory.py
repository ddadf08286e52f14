"""The private working directory of the pages: empty, because Gradio may serve files from it.

Knows directories and environment variables. Imports no gradio, which reads them when it is imported.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camelid_core import staging

_SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    # after each event Gradio would make a table of the last 10,000 for a page that we do not have
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**9),
    # else it looks for one at the first event, on the loop that serves everybody, and imports all of matplotlib for it
    "MPLBACKEND": "agg",
}


@contextmanager
def private_working_directory() -> Iterator[Path]:
    """Work in a temporary directory of this process, with uploads beside it; both are deleted afterwards.

    Gradio serves files from three places: uploads, the working directory, and that for temporary files.
    """
    before, temporary = Path.cwd(), tempfile.tempdir
    with staging.scratch("camelid-ui") as place:
        for name in ("uploads", "cwd", "tmp"):
            (place / name).mkdir(mode=0o700)
        os.environ["GRADIO_TEMP_DIR"] = str(place / "uploads")
        os.environ |= _SETTINGS
        tempfile.tempdir = str(place / "tmp")
        os.chdir(place / "cwd")
        try:
            yield place
        finally:
            os.chdir(before)
            tempfile.tempdir = temporary
