"""Weights are known by their contents, and hashed once."""

import hashlib
from pathlib import Path

import pytest

from judges.nano import WEIGHTS
from rrm.calibration.artifact import CALIBRATION_FILE, OLD_FILE, Artifact
from serving import weights
from serving.errors import SettingsError
from serving.model_host import ModelHost
from serving.settings import Settings
from serving.weights import digest_of, digest_of_sizes
from tests.helpers.styles import RRM


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Counts what is hashed; everything is large, and the cache is empty."""
    calls: list[int] = []
    real = weights._hashed

    def counted(files: list[Path], shown: bool) -> str:
        calls.append(len(files))
        return real(files, shown)

    monkeypatch.setattr(weights, "LARGE", 0)
    monkeypatch.setattr(weights, "_known", {})
    monkeypatch.setattr(weights, "_hashed", counted)
    monkeypatch.setattr(weights, "_cache", lambda: tmp_path / "cache" / "digests.json")
    return calls


def model(folder: Path, weights: bytes = b"abc") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_two_models_of_one_size_are_told_apart(tmp_path: Path, hashed: list[int]) -> None:
    one, two = model(tmp_path / "one"), model(tmp_path / "two", b"abd")
    assert digest_of(one) != digest_of(two)
    assert digest_of_sizes(one) == digest_of_sizes(two)
    plain = hashlib.sha256(b"config.json{}model.safetensorsabc").hexdigest()[:16]
    assert digest_of(one) == plain


def test_it_is_hashed_once_until_a_file_changes(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model(tmp_path / "one")
    first = digest_of(folder)
    monkeypatch.setattr(weights, "_known", {})  # as another process
    (folder / OLD_FILE).write_text("{}")
    (folder / "calibration.json").write_text("{}")
    assert digest_of(folder) == first
    assert len(hashed) == 1
    model(folder, b"abcd")
    assert digest_of(folder) != first
    assert len(hashed) == 2


def test_a_cache_that_cannot_be_written_or_read_costs_nothing_else(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model(tmp_path / "one")
    first = digest_of(folder)
    (tmp_path / "cache" / "digests.json").write_text("no JSON")
    monkeypatch.setattr(weights, "_known", {})
    assert digest_of(folder) == first
    monkeypatch.setattr(weights, "_cache", lambda: folder / "config.json" / "no" / "folder")
    monkeypatch.setattr(weights, "_known", {})
    assert digest_of(folder) == first


def test_thresholds_bound_by_sizes_are_refused_with_what_to_do(
    tmp_path: Path, hashed: list[int]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in WEIGHTS.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    file = folder / CALIBRATION_FILE
    kept = Artifact.read(file)
    sizes = digest_of_sizes(folder)
    old = kept.model_copy(update={"model_digest": sizes})
    file.write_text(old.model_dump_json())
    host = ModelHost(Settings(model=str(folder)))
    with pytest.raises(SettingsError, match="closecall calibrate --data"):
        host.calibration(RRM)
    file.write_text(kept.model_dump_json())
    assert host.calibration(RRM) is not None
    host.close()
