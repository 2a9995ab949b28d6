"""Settings come from flags, environment and file, in that order; what is wrong is said."""

from pathlib import Path
from typing import Any

import pytest

from serving.errors import SettingsError
from serving.settings import load_settings


def test_flags_beat_the_environment_and_that_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "closecall.toml"
    file.write_text('style = "grm"\nport = 9001\nreplicas = 2\n')
    monkeypatch.setenv("CLOSECALL_PORT", "9002")
    settings = load_settings(file, replicas=3)
    assert (settings.style, settings.port, settings.replicas) == ("grm", 9002, 3)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "closecall.toml"
    file.write_text("prot = 9001\n")
    with pytest.raises(SettingsError, match="prot"):
        load_settings(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 9001\nprot = 1\n", "closecall.toml, line 2: prot: Extra inputs"),
        ("host = '127.0.0.1'\n\nport = 0\n", "closecall.toml, line 3: port: Input should be"),
        ("ladder = [8, 4]\n", "closecall.toml, line 1: ladder"),
        ("engine = 'banana'\n", "closecall.toml, line 1: engine: .*give transformers"),
        ("port = \n", r"closecall.toml: .*line 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_by_line_and_key(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "closecall.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=said):
        load_settings(file)


def test_what_is_wrong_with_a_variable_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLOSECALL_PORT", "http")
    with pytest.raises(SettingsError, match=r"port \(CLOSECALL_PORT\): Input should be"):
        load_settings()
    monkeypatch.delenv("CLOSECALL_PORT")
    monkeypatch.setenv("CLOSECALL_API_KEYS", "a-long-random-key")
    with pytest.raises(SettingsError, match=r"api_keys.*a list is written as JSON"):
        load_settings()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": 0}, "port"),
        ({"replicas": 0}, "replicas"),
        ({"ladder": (8, 4)}, "ascending"),
        ({"host": "0.0.0.0"}, "loopback"),  # noqa: S104 refused, which is the point
        ({"api_keys": ["short"]}, "8 characters"),
        ({"api_key_file": "/nowhere"}, "cannot read the API keys"),
        ({"replicas": 3, "max_replicas": 2}, "max_replicas is below"),
        ({"base_url": "http://127.0.0.1:30000"}, "base_url belongs to engine sglang or openai"),
        ({"engine": "sglang", "memory_share": 1.5}, "memory_share"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(**given)


def test_an_open_address_needs_a_key_and_the_key_is_not_shown() -> None:
    settings = load_settings(host="0.0.0.0", api_keys=["a-long-random-key"])  # noqa: S104
    assert "a-long-random-key" not in repr(settings)


def test_keys_of_a_file_are_added(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# the team\nfirst-long-key\n\n  second-long-key  \n")
    given = ["third-long-key"]
    settings = load_settings(host="0.0.0.0", api_key_file=file, api_keys=given)  # noqa: S104
    keys = {key.get_secret_value() for key in settings.api_keys}
    assert keys == {"first-long-key", "second-long-key", "third-long-key"}
    file.write_text("# none\n")
    with pytest.raises(SettingsError, match="holds no API key"):
        load_settings(api_key_file=file)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no config file"):
        load_settings(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("a = = 1")
    with pytest.raises(SettingsError):
        load_settings(broken)


def test_the_old_name_of_a_calibration_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOSECALL_STOPPER", "old.json")
    assert load_settings().thresholds == Path("old.json")
    with pytest.raises(SettingsError, match="stopper is the old name of calibration"):
        load_settings(calibration=Path("new.json"))
    monkeypatch.delenv("CLOSECALL_STOPPER")
    assert load_settings(calibration=Path("new.json")).thresholds == Path("new.json")
