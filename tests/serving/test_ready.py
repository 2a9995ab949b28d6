"""Ready means judged: what would keep every request from being judged keeps a service from
starting, and it says what that is."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from judges.nano import WEIGHTS
from rrm.errors import EngineError, StyleMismatch
from serving.deploy import cause_of
from serving.errors import SettingsError
from serving.model_host import ModelHost
from serving.settings import load_settings
from serving.testing.process import ServiceProcess


def copied(folder: Path) -> Path:
    made = folder / "model"
    made.mkdir()
    for file in WEIGHTS.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    return made


def raises(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ raise_exception('no such turn') }}")


def is_missing(model: Path) -> None:
    (model / "chat_template.jinja").unlink()


def is_broken(model: Path) -> None:
    (model / "calibration.json").write_text('{"kind":')


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (raises, "does not take this style's turns: no such turn"),
        (is_missing, "does not take this style's turns"),
        (is_broken, "calibration.json is no calibration file"),
    ],
)
def test_a_model_that_cannot_judge_is_not_served(
    spoil: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    model = copied(tmp_path)
    spoil(model)
    with pytest.raises(SettingsError) as told:
        ServiceProcess(tmp_path / "log", "--model", str(model))
    assert said in " ".join(str(told.value).split())
    assert "ready:" not in str(told.value)
    assert "Traceback" not in str(told.value)


@pytest.mark.service
def test_an_engine_that_fails_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"did not start: .*scripted to fail"):
        ServiceProcess(tmp_path / "log", "--engine", "faulty", "--model", "error")


@pytest.mark.service
def test_a_proxy_does_not_come_between_gateway_and_replica(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "grpc_proxy"), nobody)
    env = {**proxies, "no_proxy": "", "NO_PROXY": ""}
    with ServiceProcess(tmp_path / "log", "--engine", "scripted", env=env) as service:
        found = service.judge(prompt="?", response_a="x", response_b="y")
        assert found.json()["kind"] == "verdict"


@pytest.mark.parametrize("fault", ["error", "nan"])
def test_the_first_pair_tells_what_fails(fault: str) -> None:
    host = ModelHost(load_settings(engine="faulty", model=fault))
    with pytest.raises(EngineError, match="the first pair could not be judged"):
        asyncio.run(host.judge_once())


@pytest.mark.parametrize("style", ["rrm", "prometheus-absolute"])
def test_a_judge_that_says_nothing_readable_is_served(style: str) -> None:
    host = ModelHost(load_settings(engine="faulty", model="garbage", style=style))
    asyncio.run(host.judge_once())


def test_nano_is_asked_in_words_that_it_reads() -> None:
    host = ModelHost(load_settings())
    try:
        asyncio.run(host.judge_once())
    finally:
        host.close()


def test_a_template_that_refuses_is_a_mismatch(tmp_path: Path) -> None:
    model = copied(tmp_path)
    raises(model)
    host = ModelHost(load_settings(model=str(model)))
    try:
        with pytest.raises(StyleMismatch, match="no such turn"):
            asyncio.run(host.judge_once())
    finally:
        host.close()


def test_the_cause_is_what_was_raised_last() -> None:
    said = (
        "The deployment failed to start 3 times in a row. Error:\nTraceback (most recent call"
        ' last):\n  File "x.py", line 1, in y\n    raise Z("why")\nserving.Z: why\nand how\n'
    )
    assert cause_of(said) == "serving.Z: why\nand how"
    assert cause_of("no traceback") == "no traceback"
