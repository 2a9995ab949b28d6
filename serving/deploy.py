"""Ray Serve hosts the Judge replicas; the Gateway in front of them listens in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
import uvicorn
from ray import serve

from serving.errors import ProblemError, SettingsError
from serving.gateway import DRAIN, Gateway
from serving.import_check import check_imports
from serving.logging import open_log
from serving.metrics import GatewayTelemetry
from serving.preflight import gpus_of
from serving.ray_replicas import RayReplicas
from serving.ray_security import require_token
from serving.replica import Judge
from serving.rlhf import routers
from serving.routes import build_app
from serving.settings import Settings

APP = "closecall"
NAME = "Judge"
STARTS = 2
"""tries of a replica to start, before the service gives up"""
FIRST_ANSWER = 60.0
"""seconds that the first answer of a replica may take, which has judged a pair before"""
RAY = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # gRPC between gateway and replicas, and fewer threads. Not HAProxy in front, which it brings.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
}
"""how Ray is started; what is set already stays"""


def application(settings: Settings) -> Any:
    """The Serve application: Judge replicas, reachable through a handle only."""
    replicas: dict[str, Any] = {"num_replicas": settings.replicas}
    if settings.max_replicas is not None:
        replicas = {
            "autoscaling_config": {
                "min_replicas": settings.replicas,
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": max(1, settings.max_ongoing // 2),
                "upscale_delay_s": 5,
                "look_back_period_s": 5,
                "metrics_interval_s": 1,
            }
        }
    judge: Any = serve.deployment(
        Judge,
        name=NAME,
        **replicas,
        max_ongoing_requests=settings.max_ongoing,
        max_constructor_retry_count=STARTS,
        max_queued_requests=-1,  # the Gateway counts who waits
        ray_actor_options={"num_cpus": 0, "num_gpus": gpus_of(settings)},
        logging_config={"enable_access_log": False},  # the Gateway writes a line of its own
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=DRAIN,
    )
    return judge.bind(settings)


class Service:
    """Ray with the Judge replicas, and the Gateway on an HTTP server of this process.

    Answers once constructed. Raises SettingsError for what kept it from starting.
    """

    def __init__(self, settings: Settings) -> None:
        check_imports()
        for name, value in RAY.items():
            os.environ.setdefault(name, value)
        keep_proxies_out()
        require_token()
        ray.init(
            address="local",  # never another's Ray, such as a trainer's that RAY_ADDRESS names
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config={"metrics_report_interval_ms": 1000},
        )
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        # No proxies: every one would be another hop, and the Gateway is cheap.
        serve.start(proxy_location="Disabled")
        try:
            handle = serve.run(application(settings), name=APP, route_prefix=None)
        except RuntimeError as failure:  # a replica's constructor or its first judgement raised
            said = serve.status().applications[APP].deployments[NAME].message
            raise SettingsError(f"the judge did not start: {cause_of(said)}") from failure
        self._http: uvicorn.Server | None = None
        self._thread = threading.Thread(
            target=self._listen, args=(settings, handle), name="http", daemon=True
        )
        self._thread.start()
        while not self.listening:
            if not self._thread.is_alive():
                raise SettingsError(f"cannot listen on {settings.host}:{settings.port}")
            time.sleep(0.01)
        self._first_answer()

    def _first_answer(self) -> None:
        """The way to a replica holds. Raises SettingsError."""
        ready = asyncio.run_coroutine_threadsafe(self.gateway.ready(), self._loop)
        try:
            ready.result(FIRST_ANSWER)
        except (ProblemError, TimeoutError) as failure:
            ready.cancel()
            raise SettingsError(
                f"the judge runs and cannot be reached from its own gateway ({failure}); look for "
                "a proxy (http_proxy, https_proxy) or a firewall on this machine's addresses"
            ) from None

    @property
    def listening(self) -> bool:
        return self._thread.is_alive() and self._http is not None and self._http.started

    def _listen(self, settings: Settings, handle: Any) -> None:
        with suppress(SystemExit):  # how uvicorn says that the port is taken
            asyncio.run(self._serve(settings, handle))

    async def _serve(self, settings: Settings, handle: Any) -> None:
        self._loop = asyncio.get_running_loop()
        # Here, since Serve may route in this very loop.
        telemetry = GatewayTelemetry(open_log(settings))
        self.gateway = Gateway(settings, RayReplicas(handle), telemetry)
        trainers = routers(self.gateway, settings.request_timeout)
        self._http = uvicorn.Server(
            uvicorn.Config(
                build_app(settings, self.gateway, trainers),
                host=settings.host,
                port=settings.port,
                log_level="error",
                access_log=False,
                timeout_graceful_shutdown=DRAIN,
            )
        )
        await self._http.serve()

    def stop(self) -> None:
        """Let what was accepted finish, then take everything down."""
        if self._http is not None and self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self.gateway.drain(), self._loop).result(DRAIN + 5)
            self._http.should_exit = True
            self._thread.join()


def keep_proxies_out() -> None:
    """GRPC would send what the gateway asks its replicas through a proxy that is set."""
    own: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    known = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy", "")  # noqa: SIM112
    addresses = dict.fromkeys([own, "127.0.0.1", "localhost", *filter(None, known.split(","))])
    os.environ["no_grpc_proxy"] = ",".join(addresses)  # noqa: SIM112, gRPC's own spelling


def cause_of(told: str) -> str:
    """Of a deployment's failure as Serve tells it, a traceback: what was raised, and with what."""
    lines = told.rstrip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith(" ")]
    return "\n".join(lines[frames[-1] + 1 :] if frames else lines)


def shut_down() -> None:
    """Take Ray down."""
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def run(settings: Settings, started: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `started` is called once it answers."""
    done = threading.Event()
    try:
        service = Service(settings)
        # Only now: Ray installs a handler of its own that aborts on SIGTERM.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: done.set())
        started()
        while not done.wait(1.0):
            if not service.listening:
                raise RuntimeError("the HTTP server has ended")
        service.stop()
    finally:
        shut_down()
