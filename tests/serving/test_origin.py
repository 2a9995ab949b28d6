"""Another project's `judges` or `rrm` in our place is named, not used."""

import pytest

import judges
from serving.origin import NameClash, check_origin


def test_ours_pass() -> None:
    check_origin()


def test_a_stranger_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(judges, "DISTRIBUTION")
    with pytest.raises(NameClash, match=r"'judges' at .* is not closecall's.*pip uninstall judges"):
        check_origin()
