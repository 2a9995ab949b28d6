"""Which judge a model is, and what cannot be opened, said before anything is loaded."""

from pathlib import Path

import pytest

from rrm.style import StyleMismatch
from serving.registry import Registry, check_settings, model_directory
from serving.settings import SettingsError, load_settings

PROMPT = "Which?\n{prompt}\n{response_1}\n{response_2}\n"


def test_nano_speaks_its_styles_with_thresholds() -> None:
    registry = Registry(load_settings())
    try:
        assert registry.names() == ("rrm", "rm-r1", "grm")
        assert all(registry.pairwise(name).stopper for name in registry.names())
        assert registry.pairwise(None) is registry.pairwise("rrm")
        with pytest.raises(StyleMismatch, match="not 'rm-r1-instruct'"):
            registry.pairwise("rm-r1-instruct")
    finally:
        registry.close()


@pytest.mark.parametrize("changed", [{"ladder": (4, 8)}, {"temperature": 0.5}])
def test_thresholds_belong_to_what_they_were_fitted_on(changed: dict[str, object]) -> None:
    registry = Registry(load_settings(**changed))  # type: ignore[arg-type]
    try:
        assert registry.pairwise(None).stopper is None
    finally:
        registry.close()


def test_another_prompt_takes_the_thresholds_away(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT)
    registry = Registry(load_settings(prompt_file=file))
    try:
        assert registry.pairwise(None).stopper is None
        assert registry.pairwise("rm-r1").stopper is not None
    finally:
        registry.close()
    file.write_text("{prompt}")
    with pytest.raises(SettingsError, match="response_1"):
        Registry(load_settings(prompt_file=file))


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    for given, said in (
        ({"model": str(tmp_path)}, "no config.json"),
        ({"model": "/nowhere"}, "no model at"),
        ({"model": "owner/name"}, "could not be fetched"),
        ({"device": "cuda"}, "no GPU"),
        ({"engine": "sglang"}, "On a CPU use --engine transformers|pip install 'closecall.sglang"),
        ({"prompt_file": tmp_path / "none"}, "no prompt file"),
    ):
        with pytest.raises(SettingsError, match=said):
            check_settings(load_settings(**given))
    with pytest.raises(StyleMismatch, match="speaks rrm"):
        check_settings(load_settings(style="nonsense"))


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    assert model_directory(str(tmp_path)) == tmp_path
