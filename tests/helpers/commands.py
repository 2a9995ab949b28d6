"""Commands within the process of the tests, which has torch loaded already."""

from __future__ import annotations

import subprocess

from typer.testing import CliRunner

from serving.cli import cli


def closecall(*words: str) -> subprocess.CompletedProcess[str]:
    """The command within this process, which has torch loaded already."""
    found = CliRunner().invoke(cli, words)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return subprocess.CompletedProcess(words, found.exit_code, found.stdout, found.stderr)
