"""A plugin that registers the task of `ticking`, for processes that load plugins."""

from __future__ import annotations

from camelid_core import hookimpl
from ticking import TICK


@hookimpl
def camelid_tasks():
    return [TICK]
