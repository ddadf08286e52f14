"""What all tests share: how Hypothesis looks for examples.

`make test` tries the same ones each time, so that a change is judged by what it changed; everywhere
else it looks for new ones.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("camelid", deadline=None, derandomize="CAMELID_SAME_EXAMPLES" in os.environ)
settings.load_profile("camelid")
