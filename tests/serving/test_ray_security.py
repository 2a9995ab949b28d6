"""Nobody without the service's token gets Ray to do anything, whatever the environment says."""

import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx2
import psutil
import pytest

from serving import ray_security
from serving.errors import SettingsError
from serving.testing.process import ServiceProcess

pytestmark = pytest.mark.service
ENV = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "known-to-everybody"}
CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.JobInfoGcsService/AddJob",
    "/ray.rpc.NodeManagerService/RequestWorkerLease",
    "/ray.rpc.CoreWorkerService/PushTask",
    "/ray.serve.ASGIService/HandleRequest",
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose environment asks for no authentication."""
    config = tmp_path_factory.mktemp("opened") / "closecall.toml"
    config.write_text('engine = "scripted"\n')
    log = config.with_name("log")
    with ServiceProcess(log, "--config", str(config), env=ENV) as running:
        yield running


RUNS = ("/api/job_agent/jobs/", "/get_or_create_runtime_env", "/delete_runtime_env_if_possible")
"""HTTP routes of Ray's agents that do something"""


def addresses(service: ServiceProcess) -> dict[str, psutil.Process]:
    """HOST:PORT of all that Ray's processes listen on, each as it can be reached from here."""
    found = {}
    own = int(service.url.rpartition(":")[2])
    parent = psutil.Process(service.process.pid)
    for process in (parent, *parent.children(recursive=True)):
        for one in process.net_connections(kind="tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port != own:
                everywhere = ipaddress.ip_address(one.laddr.ip).is_unspecified
                host = "127.0.0.1" if everywhere else one.laddr.ip
                found[f"{host}:{one.laddr.port}"] = process
    return found


def status(address: str, method: str, *token: tuple[str, str]) -> grpc.StatusCode:
    """What a bare call of `method` is answered; OK if it was let in."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(method)
        try:
            call(b"", timeout=5, metadata=token)
        except grpc.RpcError as failure:
            code: grpc.StatusCode = failure.code()
            return code
    return grpc.StatusCode.OK


def test_no_socket_of_ray_lets_a_stranger_in(opened: ServiceProcess) -> None:
    wrong = ("authorization", "Bearer known-to-everybody")
    refused = dict.fromkeys(CALLS, 0)
    for address in addresses(opened):
        for method in CALLS:
            for token in ((), (wrong,)):
                code = status(address, method, *token)
                assert code is not grpc.StatusCode.OK, (address, method)
                refused[method] += code is grpc.StatusCode.UNAUTHENTICATED
    assert all(refused.values()), refused  # each was spoken to where it is served


def test_no_command_runs_through_the_control_store(opened: ServiceProcess) -> None:
    [gcs] = [at for at, one in addresses(opened).items() if one.name() == "gcs_server"]
    code = (
        "import os, ray\n"
        f"ray.init(address='{gcs}', log_to_driver=False)\n"
        "print('ran as', ray.get(ray.remote(lambda: os.getpid()).remote()))\n"
    )
    for mode in ("disabled", "token"):
        env = {**os.environ, "RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": "known-to-everybody"}
        command = [sys.executable, "-c", code]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
        except subprocess.TimeoutExpired as kept_out:
            assert b"ran as" not in (kept_out.stdout or b"")
            continue
        assert done.returncode != 0
        assert "ran as" not in done.stdout


def test_what_answers_http_beside_metrics_asks_for_the_token(opened: ServiceProcess) -> None:
    jobs = {"entrypoint": "true"}
    refused = 0
    for address in addresses(opened):
        for route in RUNS:
            try:
                answer = httpx2.post(f"http://{address}{route}", json=jobs, timeout=5)
            except httpx2.HTTPError:
                continue  # it speaks gRPC
            assert answer.status_code in (401, 403, 404, 405), (address, route, answer.text)
            refused += answer.status_code in (401, 403)
    assert refused >= 2  # the job agent and the agent of runtime environments


def test_callers_of_the_service_notice_nothing(opened: ServiceProcess) -> None:
    answer = opened.judge(prompt="?", response_a="x", response_b="y", effort="none")
    assert answer.status_code == 200


def test_a_ray_that_cannot_ask_for_a_token_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (ray_security.MODE, ray_security.TOKEN, ray_security.TOKEN_PATH):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("ray._raylet.get_authentication_mode", lambda: None)
    with pytest.raises(SettingsError, match="cannot be made to ask for a token"):
        ray_security.require_token()
