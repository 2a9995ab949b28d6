"""Which judge a model is, and what cannot be opened, said before anything is loaded."""

from pathlib import Path

import pytest

from judges.nano import WEIGHTS
from judges.styles.registry import FAMILIES
from rrm.errors import StyleMismatch
from serving.errors import SettingsError
from serving.model_host import ModelHost
from serving.preflight import check_settings
from serving.settings import load_settings
from serving.weights import model_directory

PROMPT = "Which?\n{prompt}\n{response_1}\n{response_2}\n"


def test_nano_speaks_its_styles_with_thresholds() -> None:
    host = ModelHost(load_settings())
    try:
        assert host.names() == ("rrm", "rm-r1", "grm", "thinkless")
        assert all(host.pairwise(name).calibration for name in host.names())
        assert host.pairwise(None) is host.pairwise("rrm")
        with pytest.raises(StyleMismatch, match="not 'rm-r1-instruct'"):
            host.pairwise("rm-r1-instruct")
    finally:
        host.close()


def test_a_service_watches_for_drift_and_a_command_does_not() -> None:
    for audits, share, watched in ((True, 0.5, True), (False, 0.5, False), (True, 0.0, False)):
        host = ModelHost(load_settings(audit_share=share), audits=audits)
        try:
            judge = host.pairwise("rrm")
            assert (judge.monitor is not None) is watched
            assert judge.monitor is None or judge.monitor.fraction == share
        finally:
            host.close()


@pytest.mark.parametrize("changed", [{"ladder": (4, 8)}, {"temperature": 0.5}])
def test_thresholds_belong_to_what_they_were_fitted_on(changed: dict[str, object]) -> None:
    host = ModelHost(load_settings(**changed))  # type: ignore[arg-type]
    try:
        assert host.pairwise(None).calibration is None
    finally:
        host.close()


def test_another_prompt_takes_the_thresholds_away(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT)
    host = ModelHost(load_settings(prompt_file=file))
    try:
        assert host.pairwise(None).calibration is None
        assert host.pairwise("rm-r1").calibration is not None
    finally:
        host.close()
    file.write_text("{prompt}")
    with pytest.raises(SettingsError, match="response_1"):
        ModelHost(load_settings(prompt_file=file))


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    for given, said in (
        ({"model": str(tmp_path)}, "no config.json"),
        ({"model": "/nowhere"}, "no model at"),
        ({"model": "owner/name"}, "could not be fetched"),
        ({"device": "cuda"}, "no GPU"),
        ({"engine": "sglang"}, r"use --engine transformers|install -e '\.\[sglang\]'"),
        ({"engine": "openai", "base_url": "http://x"}, "needs --model: the name of a model"),
        ({"prompt_file": tmp_path / "none"}, "no prompt file"),
    ):
        with pytest.raises(SettingsError, match=said):
            check_settings(load_settings(**given))
    with pytest.raises(StyleMismatch, match="speaks rrm"):
        check_settings(load_settings(style="nonsense"))


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    assert model_directory(str(tmp_path)) == tmp_path


def family(folder: Path, name: str) -> str:
    """A directory with nano in it, under the name of some known judge."""
    made = folder / name
    made.mkdir()
    for file in WEIGHTS.iterdir():
        if file.name != "closecall.json":
            (made / file.name).write_bytes(file.read_bytes())
    return str(made)


def test_a_known_family_picks_its_style_and_a_mismatch_is_refused(tmp_path: Path) -> None:
    distilled = family(tmp_path, "RM-R1-DeepSeek-Distilled-Qwen-7B")
    host = ModelHost(load_settings(model=distilled))
    try:
        assert host.default == "rm-r1"
        assert host.pairwise(None).style.name == "rm-r1"
        assert "rm-r1-instruct" not in host.names()
        assert {"judgelrm", "prometheus-absolute"} <= set(host.names())
    finally:
        host.close()
    with pytest.raises(StyleMismatch, match="model of style rm-r1, not rm-r1-instruct"):
        check_settings(load_settings(model=distilled, style="rm-r1-instruct"))
    instruct = family(tmp_path, "RM-R1-Qwen2.5-Instruct-7B")  # but nano has a <think> token
    with pytest.raises(StyleMismatch, match="without a <think> token"):
        ModelHost(load_settings(model=instruct))
    host = ModelHost(load_settings(model=family(tmp_path, "JudgeLRM-7B")))
    try:
        assert host.default == "judgelrm"
        assert host.pairwise(None).style.stop == "</think>"
    finally:
        host.close()


def test_a_style_of_ones_own_is_served(tmp_path: Path) -> None:
    source = FAMILIES / "think-rm.toml"
    mine = tmp_path / "mine.toml"
    mine.write_text(source.read_text().replace('name = "think-rm"', 'name = "mine"'))
    host = ModelHost(load_settings(prompt_file=mine))
    try:
        assert host.default == "mine"
        assert host.names() == ("mine", "rrm", "rm-r1", "grm", "thinkless")
        assert host.pairwise(None).temperature == 0.6
        assert host.pairwise("mine").calibration is None
    finally:
        host.close()
    with pytest.raises(StyleMismatch, match="holds the style mine, not rrm"):
        check_settings(load_settings(prompt_file=mine, style="rrm"))
    mine.write_text(mine.read_text().replace("[thought]", "[thoughts]"))
    with pytest.raises(SettingsError, match="line 20: thoughts"):
        check_settings(load_settings(prompt_file=mine))


def test_chains_are_decoded_as_told_else_as_calibrated_else_as_the_authors_do(
    tmp_path: Path,
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(PROMPT)
    for given, temperature in (
        ({}, 0.0),  # nano's calibration
        ({"prompt_file": prompt}, 0.6),  # none fits these words, so RRM's own
        ({"temperature": 0.3}, 0.3),
    ):
        host = ModelHost(load_settings(**given))
        try:
            assert host.pairwise(None).temperature == temperature
        finally:
            host.close()


def test_scoring_opens_its_judge_once(monkeypatch: pytest.MonkeyPatch) -> None:
    host = ModelHost(load_settings())
    try:
        judge = host.pointwise(None)
        monkeypatch.setattr(host, "_fitted", None)  # whoever reads the file again fails
        assert host.pointwise("grm") is judge
        assert judge.temperature == 0.0
    finally:
        host.close()
