"""Calibrations on disk: version 2, version 1 where that is all there is, and what is refused."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from judges.nano import CALIBRATION
from rrm.calibration.artifact import (
    CALIBRATION_FILE,
    OLD_FILE,
    Artifact,
    ArtifactError,
    calibration_file,
    load_calibration,
)
from rrm.calibration.calibration import PlattScaler
from rrm.decision.priced import PricedPolicy
from rrm.decision.thresholds import Policy, Rule
from tests.golden.store import HERE
from tests.helpers.judging import at


def written(file: Path, **change: Any) -> Path:
    """A calibration of style rrm, bound to the weights m and the prompt h."""
    kept = Artifact.empty("m").plus("rrm", "h", at(1.5))
    file.write_text(json.dumps({**kept.as_json(), **change}))
    return file


def test_infinite_thresholds_survive_the_file_and_another_prompt_gets_none(tmp_path: Path) -> None:
    file = written(tmp_path / CALIBRATION_FILE)
    assert load_calibration(file, "rrm", "h") == at(1.5)
    assert load_calibration(file, "rrm", "h", "m") == at(1.5)
    assert load_calibration(file, "rrm", "h", "other weights") is None
    assert load_calibration(file, "rrm", "changed") is None
    assert load_calibration(file, "grm", "h") is None
    assert load_calibration(tmp_path / "elsewhere", "rrm", "h") is None
    [policy] = at(1.5).policies
    assert isinstance(policy, Policy)
    assert math.isinf(policy.rules[0].differ)


def test_nano_has_a_certified_policy_in_every_style() -> None:
    made = Artifact.read(CALIBRATION)
    assert set(made.styles) == {"rrm", "rm-r1", "grm", "thinkless"}
    for style, bound in made.styles.items():
        known = bound.calibration
        assert bound.kind == "priced"
        assert isinstance(known.policy, PricedPolicy), style
        assert known.certificate is not None
        assert known.token_prices is not None
        assert known.token_prices.kind == "flops"
        assert known.position_bias[-1].thinking_tokens is None


def _without(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _without(one, name) for key, one in value.items() if key != name}
    return [_without(one, name) for one in value] if isinstance(value, list) else value


def test_version_1_is_read_where_that_is_all_there_is(tmp_path: Path) -> None:
    old = tmp_path / OLD_FILE
    old.write_bytes(gzip.decompress((HERE / "stopper.v1.json.gz").read_bytes()))
    assert calibration_file(tmp_path) == old
    kept = json.loads(gzip.decompress((HERE / "stopper.v1.json.gz").read_bytes()))
    made = Artifact.read(old)
    assert made.model_digest == kept["model_digest"]
    for style, bound in made.styles.items():
        assert bound.kind == "thresholds"
        assert bound.prompt_hash == kept["prompt_hashes"][style]
        known = json.loads(bound.calibration.model_dump_json())
        for name in ("policies", "certificate", "stages", "expected"):
            assert _without(known[name], "alone") == kept["stoppers"][style][name]
    new = written(tmp_path / CALIBRATION_FILE)
    assert calibration_file(tmp_path) == new
    assert calibration_file(tmp_path / "elsewhere").name == CALIBRATION_FILE


def test_a_kind_of_policy_that_is_not_known_is_refused(tmp_path: Path) -> None:
    kept = Artifact.empty("m").plus("rrm", "h", at(1.5)).as_json()
    kept["styles"]["rrm"]["kind"] = "oracle"
    file = tmp_path / CALIBRATION_FILE
    file.write_text(json.dumps(kept))
    with pytest.raises(ArtifactError, match=r"kind 'oracle'.*upgrade closecall"):
        Artifact.read(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 3}', "\x00"])
def test_what_is_no_calibration_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / CALIBRATION_FILE
    file.write_text(text)
    with pytest.raises(ArtifactError, match="no calibration file"):
        Artifact.read(file)


def test_states_in_which_one_order_alone_was_read_are_kept(tmp_path: Path) -> None:
    sure = PlattScaler(intercept=1.0, slope=2.0)
    plain = at(1.5)
    stage = plain.stages[0].model_copy(update={"alone": sure})
    rules = plain.policies[0].model_copy(update={"rules": (Rule(alone=0.7),)})
    made = plain.model_copy(update={"stages": (stage,), "policies": (rules,)})
    file = tmp_path / CALIBRATION_FILE
    file.write_text(json.dumps(Artifact.empty("m").plus("rrm", "h", made).as_json()))
    found = load_calibration(file, "rrm", "h")
    assert found == made
    assert found is not None
    assert isinstance(found.policy, Policy)
    rule = found.policy.rules[0]
    assert rule.looks
    assert rule.stops(-0.8, None)
    assert not rule.stops(0.6, None)
    assert not rule.stops(9.0, True)
    assert found.probability(0, 0.5, None) == pytest.approx(sure(0.5))
