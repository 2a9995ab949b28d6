"""A service in a process of its own: for the demo, the benchmarks and the tests."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from serving.errors import SettingsError

START_SECONDS = 420
STOP_SECONDS = 60


def free_port() -> int:
    """A port of the loopback that nobody listens on now, below those that systems hand out."""
    anywhere = random.SystemRandom()  # a seeded one would try the same ports in every process
    while True:
        port = anywhere.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ServiceProcess:
    """`closecall serve OPTIONS` on a free port, ready once constructed; a context manager.

    log: where its output goes. Raises SettingsError, with that output, if it does not come up.
    """

    def __init__(self, log: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "serving.cli", "serve", "--port", str(port), *options]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.http = httpx2.Client(base_url=self.url, timeout=60)
        until = time.monotonic() + START_SECONDS
        while "ready:" not in log.read_text(encoding="utf-8"):
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise SettingsError(f"the service did not start:\n{log.read_text()}")
            time.sleep(0.2)

    def judge(self, **fields: Any) -> httpx2.Response:
        """POST /v1/judge."""
        return self.http.post("/v1/judge", json=fields)

    def stop(self) -> int:
        """SIGTERM; SIGKILL to the whole group if that does not end it. Returns the exit code."""
        self.http.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
