"""Opening a browser at the pages without their token on its command line, which every user of the machine can read.

Knows where a browser can read a file of ours. Knows nothing of the pages.
"""

from __future__ import annotations

import html
import os
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camelid_core.file_permissions import make_private_directory, open_private
from camelid_core.paths import home

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Camelid</title>
<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0;url={url}">
<p><a href="{url}">Camelid</a></p></html>
"""


@contextmanager
def browser_opened_at(url: str, port: int) -> Iterator[None]:
    """Open a browser that a private HTML file redirects to `url`; the file is deleted afterwards.

    It stays until then: when a browser that is starting, or one that restores its tabs, reads it is not known.
    """
    page = _readable_directory() / f"camelid-{port}.html"
    page.unlink(missing_ok=True)  # left by a server that was killed
    with open_private(page, "xb") as file:
        file.write(_PAGE.format(url=html.escape(url)).encode())
    try:
        webbrowser.open(page.as_uri())
        yield
    finally:
        page.unlink(missing_ok=True)


def _readable_directory() -> Path:
    """Camelid's home; but a browser installed as a snap may not read hidden directories: for it the user's home."""
    person = Path.home()
    hidden = any(part.startswith(".") for part in home().parts)
    seen = hidden and (person / "snap").is_dir() and os.access(person, os.W_OK)
    return person if seen else make_private_directory(home())
