"""The SGLang server behind an engine: one of our own, or one that runs already.

A private server is a process group of its own beside the Judge replica. SGLang answers a failure
of its scheduler by killing the process that holds the engine; as a group of its own it takes no
caller with it. Chains live in their ids, so a server that died has lost nothing but its cache:
a new one is started and the calls are made again.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx2

from rrm.engines.base import EngineOptions
from rrm.errors import EngineError

LOADING = 1800.0
"""seconds a server may take to load its model"""
DEATHS = 3
"""of a private server within MEMORY seconds, after which it is not started again"""
MEMORY = 600.0
ON_A_CPU = (
    *("--device", "cpu", "--attention-backend", "torch_native", "--sampling-backend", "pytorch"),
    *("--disable-cuda-graph", "--disable-overlap-schedule", "--sleep-on-idle"),
)
DTYPES = {"auto": "auto", "bfloat16": "bfloat16", "float16": "half", "float32": "float32"}


class Server(Protocol):
    """Where requests go."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str | None: ...

    async def ready(self) -> None:
        """Wait until it answers. Raises EngineError if it never will."""
        ...

    def check(self) -> None:
        """Raise EngineError if it is gone for good."""
        ...

    def stop(self) -> None: ...


@dataclass
class RunningServer:
    """A server somebody else started."""

    url: str
    key: str | None

    async def ready(self) -> None: ...

    def check(self) -> None: ...

    def stop(self) -> None: ...


class PrivateServer:
    """A server for this process alone: loopback, a random key, started again when it dies.

    Raises EngineError if SGLang is not installed.
    """

    def __init__(self, directory: Path, options: EngineOptions) -> None:
        self.key: str = secrets.token_hex(16)
        self.url = ""
        self._arguments = launch_arguments(directory, options)
        extra = {"SGLANG_USE_CPU_ENGINE": "1"} if options.device == "cpu" else {}
        self._environment = {**os.environ, "HF_HUB_OFFLINE": "1", **extra}
        self._deaths: list[float] = []
        self._lost: str | None = None
        self._log = tempfile.NamedTemporaryFile(  # noqa: SIM115, closed by stop
            prefix="closecall-sglang-", suffix=".log"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_running())
        await self._answers.wait()
        self.check()

    def check(self) -> None:
        if self._lost is not None:
            raise EngineError(self._lost)

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.get_loop().call_soon_threadsafe(self._watch.cancel)
        self._end(self._process)
        self._log.close()

    @property
    def pid(self) -> int:
        """Of the process group's leader."""
        if self._process is None:
            raise EngineError("the SGLang server is not running")
        return self._process.pid

    async def _keep_running(self) -> None:
        while self._lost is None:
            try:
                self._process = self._launch()
            except OSError as failure:
                self._lost = f"the SGLang server cannot be started: {failure}"
                break
            began = time.monotonic()
            while self._process.poll() is None:
                if not self._answers.is_set():
                    if await self._healthy():
                        self._answers.set()
                    elif time.monotonic() - began > LOADING:
                        break
                await asyncio.sleep(0.1)
            self._answers.clear()
            self._end(self._process)
            self._count_death()
        self._answers.set()  # those who wait shall hear that it is lost

    def _count_death(self) -> None:
        now = time.monotonic()
        self._deaths = [when for when in self._deaths if now - when < MEMORY] + [now]
        if len(self._deaths) >= DEATHS:
            lines = Path(self._log.name).read_text(encoding="utf-8", errors="replace").splitlines()
            said = "\n".join(lines[-15:])
            self._lost = f"the SGLang server died {len(self._deaths)} times; it last said:\n{said}"

    def _launch(self) -> subprocess.Popen[bytes]:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        own = ["--host", "127.0.0.1", "--port", str(port), "--api-key", self.key]
        process = subprocess.Popen(
            [sys.executable, "-m", "rrm.engines.sglang_host"],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
        )
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # one that died at once is found dead
                process.stdin.write(json.dumps([*self._arguments, *own]).encode() + b"\n")
                process.stdin.flush()  # and kept open: its end tells the server to go
        return process

    async def _healthy(self) -> bool:
        with suppress(httpx2.HTTPError):
            async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
                return (await client.get(f"{self.url}/health")).status_code == 200
        return False

    def _end(self, process: subprocess.Popen[bytes] | None) -> None:
        """Kill the whole group: the leader may be gone and its children not."""
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()


def launch_arguments(directory: Path, options: EngineOptions) -> list[str]:
    """The words for SGLang's launcher. Raises ValueError for a dtype SGLang does not know."""
    if options.dtype not in DTYPES:
        raise ValueError(f"SGLang does not compute in {options.dtype}; give {', '.join(DTYPES)}")
    arguments = ["--model-path", str(directory), "--dtype", DTYPES[options.dtype]]
    arguments += ["--tp-size", str(options.tensor_parallel)]
    if options.memory_share is not None:
        arguments += ["--mem-fraction-static", str(options.memory_share)]
    if options.device == "cpu":
        arguments += ON_A_CPU
    return [*arguments, *options.server_args]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
