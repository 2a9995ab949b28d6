"""Where the weights of a model lie, and what identifies them: the contents of its files.

Hashing the weights of a large model takes a minute. It is done once: the result is kept in the
user's cache directory, since weights may be read-only, until a file changes its size or time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from judges.nano import WEIGHTS
from rrm.calibration.artifact import CALIBRATION_FILE, OLD_FILE
from serving.errors import SettingsError
from serving.settings import NANO

LARGE = 2**30
"""bytes from which on progress is shown and the result is kept on disk"""
CHUNK = 2**22
DIGITS = 16
APART = frozenset({OLD_FILE, CALIBRATION_FILE})
"""files that say something of the weights, and are none"""

_known: dict[str, str] = {}
"""digests by signature, within this process"""


def model_directory(model: str) -> Path:
    """Where the weights of `model` lie: the bundled ones, a directory, or a hub snapshot.

    Raises SettingsError if there is nothing there.
    """
    if model == NANO:
        return WEIGHTS
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.count("/") == 1 and not path.is_absolute() and not model.startswith("."):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(model))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as failure:
            raise SettingsError(
                f"the hub model {model!r} could not be fetched ({type(failure).__name__}); "
                "download it first and pass its directory"
            ) from None
    raise SettingsError(f"no model at {model!r}: give `nano`, a directory, or a hub id OWNER/NAME")


def weights_digest(model: str) -> str:
    """Hash of the model's files, its thresholds aside. Raises SettingsError if there are none."""
    return digest_of(model_directory(model))


def digest_of(directory: Path) -> str:
    """Hash of the names and contents of all files, in hexadecimal."""
    files = _files(directory)
    signature = _signature(directory, files)
    large = sum(file.stat().st_size for file in files) > LARGE
    if signature not in _known and large:
        _known.update(_cached())
    if signature not in _known:
        _known[signature] = _hashed(files, shown=large)
        if large:
            _cache_digest(signature, _known[signature])
    return _known[signature]


def digest_of_sizes(directory: Path) -> str | None:
    """What stood for large weights up to version 0.1: names and sizes. None for small ones."""
    files = _files(directory)
    if sum(file.stat().st_size for file in files) <= LARGE:
        return None
    sha = hashlib.sha256()
    for file in files:
        sha.update(file.name.encode())
        sha.update(str(file.stat().st_size).encode())
    return sha.hexdigest()[:DIGITS]


def _files(directory: Path) -> list[Path]:
    found = sorted(file for file in directory.rglob("*") if file.is_file())
    return [file for file in found if file.name not in APART]


def _signature(directory: Path, files: Sequence[Path]) -> str:
    """What changes when a file does."""
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((str(directory.resolve()), facts)).encode()).hexdigest()


def _hashed(files: Sequence[Path], shown: bool) -> str:
    sha = hashlib.sha256()
    columns = (TextColumn("hashing the weights"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        bar = progress.add_task("", total=sum(file.stat().st_size for file in files))
        for file in files:
            sha.update(file.name.encode())
            with file.open("rb") as opened:
                while chunk := opened.read(CHUNK):
                    sha.update(chunk)
                    progress.advance(bar, len(chunk))
    return sha.hexdigest()[:DIGITS]


def _cache() -> Path:
    return user_cache_path("closecall") / "digests.json"


def _cached() -> dict[str, str]:
    try:
        kept = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in kept.items()} if isinstance(kept, dict) else {}


def _cache_digest(signature: str, digest: str) -> None:
    """Not being able to costs the next start a minute, and nothing else."""
    with suppress(OSError):
        file = _cache()
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{signature[:8]}.part")
        part.write_text(json.dumps({**_cached(), signature: digest}), encoding="utf-8")
        part.replace(file)
