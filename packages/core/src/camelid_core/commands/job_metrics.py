"""`camelid jobs metrics`: the queue in Prometheus' text format, as for node_exporter's textfile collector.

Knows the command line. What is measured is `camelid_core.job_metrics`.
"""

from __future__ import annotations

import typer

from camelid_core.job_metrics import job_metrics

from .job_access import open_swept_store


def metrics() -> None:
    """Numbers for a monitor, in Prometheus' text format; the pages serve the same at /metrics."""
    typer.echo(job_metrics(open_swept_store()), nl=False)
