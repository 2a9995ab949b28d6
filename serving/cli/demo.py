"""`closecall demo`: the service on the bundled judge."""

from __future__ import annotations

from serving.reports.console import console


def demo() -> None:
    """Start the service on the bundled judge, judge ten pairs over REST, stop it."""
    from serving.demo import run

    run(console())
