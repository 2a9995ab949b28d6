"""Another project's `judges` or `rrm` in our place is named, not used."""

import pytest

import judges
from serving.import_check import NameClash, check_imports


def test_ours_pass() -> None:
    check_imports()


def test_a_stranger_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(judges, "DISTRIBUTION")
    with pytest.raises(NameClash, match=r"'judges' at .* is not closecall's.*pip uninstall judges"):
        check_imports()
