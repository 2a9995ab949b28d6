"""A real service in its own process, for tests and benchmarks that call it over REST."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil

START_SECONDS = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """`closecall serve` with these options, ready once constructed."""

    def __init__(self, log: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        command = [sys.executable, "-m", "serving.cli", "serve", "--port", str(self.port), *options]
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
        while "ready:" not in log.read_text():
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"the service did not start:\n{log.read_text()}")
            time.sleep(0.2)

    def judge(self, **fields: Any) -> httpx2.Response:
        return self.http.post("/v1/judge", json=fields)

    def processes(self) -> list[psutil.Process]:
        """The server and all that it started."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def replicas(self) -> list[psutil.Process]:
        return [p for p in self.processes() if "ServeReplica:closecall:Judge" in _name(p)]

    def stop(self) -> int:
        """SIGTERM, then SIGKILL to whatever is left. Returns the exit code."""
        family = self.processes() if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for left in family:
            if left.is_running():
                left.kill()
        self.http.close()
        return self.process.wait()


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
