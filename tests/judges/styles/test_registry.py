"""Families are found by folder: one more is one file."""

from pathlib import Path

import pytest

from judges.styles import registry
from judges.styles.registry import families, open_style, style_names, styles_of
from judges.styles.toml_file import FileError
from rrm.errors import StyleMismatch


def test_one_more_family_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in registry.FAMILIES.glob("*.toml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    mine = (tmp_path / "think-rm.toml").read_text().replace('"think-rm"', '"deep-thinker"')
    (tmp_path / "deep-thinker.toml").write_text(mine)
    monkeypatch.setattr(registry, "FAMILIES", tmp_path)
    for cached in (registry.families, registry.family_style):
        monkeypatch.setattr(registry, cached.__name__, cached.__wrapped__)
    assert registry.open_style("deep-thinker").temperature == 0.6
    assert "deep-thinker" in registry.style_names()
    assert registry.styles_of("someone/Deep-Thinker-8B") == ("deep-thinker",)
    (tmp_path / "grm.toml").write_text('name = "grm"\n')
    with pytest.raises(FileError, match=r"grm\.toml, line 1: turns"):
        registry.families()


def test_a_file_is_called_what_its_style_is() -> None:
    assert {file.stem for file in registry.FAMILIES.glob("*.toml")} == set(families())


def test_a_style_of_another_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_style.py").write_text(
        "from judges.styles.registry import family_style\nSTYLE = family_style('rm-r1')\n"
    )
    info = tmp_path / "their_style-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-style\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[closecall.styles]\ntheirs = their_style:STYLE\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert open_style("theirs").stop == "</think>"
    assert "theirs" in style_names()


def test_a_style_that_is_not_there() -> None:
    with pytest.raises(StyleMismatch, match=r"no style called 'none'; there are: .*rm-r1"):
        open_style("none")


@pytest.mark.parametrize(("name", "temperature"), [("rrm", 0.6), ("rm-r1", 0.0), ("grm", 0.5)])
def test_a_family_says_how_its_authors_decode(name: str, temperature: float) -> None:
    assert open_style(name).temperature == temperature


def test_every_model_pattern_finds_its_own_family_alone() -> None:
    for model, style in (
        ("Reward-Reasoning/RRM-32B", "rrm"),
        ("gaotang/RM-R1-Qwen2.5-Instruct-7B", "rm-r1-instruct"),
        ("BBQGOD/DeepSeek-GRM-27B", "grm"),
    ):
        assert styles_of(model) == (style,)
