"""`calibration.json`: what calibrating found, for each style, bound to the weights and the prompt.

Version 2 names the kind of policy that each style has; a kind that this version does not know is
refused, never half read. Version 1, `stopper.json`, is read where that is all there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from rrm.calibration.calibration import Calibration
from rrm.decision.fixed import FixedPolicy
from rrm.decision.priced import PricedPolicy
from rrm.types import Frozen

CALIBRATION_FILE = "calibration.json"
OLD_FILE = "stopper.json"
"""version 1"""


class ArtifactError(ValueError):
    """The file holds no calibration that can be read; the message says what to do."""


class Bound(Frozen):
    """One style's calibration and the prompt that it was fitted with."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    prompt_hash: str
    kind: Literal["thresholds", "priced", "fixed"] = Field(description="of its policies")
    calibration: Calibration


class Artifact(Frozen):
    """`calibration.json`, version 2."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    version: Literal[2]
    model_digest: str
    """hash of the weights"""
    styles: Mapping[str, Bound]

    @classmethod
    def empty(cls, model_digest: str) -> Artifact:
        return cls(version=2, model_digest=model_digest, styles={})

    @classmethod
    def read(cls, file: Path) -> Artifact:
        """The artifact in `file`, of either version. Raises ArtifactError, OSError."""
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(given, dict) and "version" not in given and "stoppers" in given:
                given = _upgraded(given)
            return cls.model_validate(given)
        except ValidationError as failure:
            kind = _unknown_kind(failure)
            raise ArtifactError(
                f"{file} holds a calibration of kind {kind!r}, which this version does not know: "
                "upgrade closecall, or calibrate again"
                if kind
                else f"{file} is no calibration file; closecall calibrate writes them"
            ) from None
        except ValueError:
            raise ArtifactError(
                f"{file} is no calibration file; closecall calibrate writes them"
            ) from None

    def of(self, style: str, prompt_hash: str) -> Calibration | None:
        """The calibration of `style`, unless its prompt has changed since it was fitted."""
        found = self.styles.get(style)
        return found.calibration if found and found.prompt_hash == prompt_hash else None

    def plus(self, style: str, prompt_hash: str, calibration: Calibration) -> Artifact:
        """With this style's calibration, beside those of others."""
        kinds = {type(policy) for policy in calibration.policies}
        kind: Literal["thresholds", "priced", "fixed"] = "thresholds"
        if FixedPolicy in kinds:
            kind = "fixed"
        elif PricedPolicy in kinds:
            kind = "priced"
        bound = Bound(prompt_hash=prompt_hash, kind=kind, calibration=calibration)
        return self.model_copy(update={"styles": {**self.styles, style: bound}})

    def as_json(self) -> Any:
        """As it is written: what is as everywhere is left out."""
        return json.loads(self.model_dump_json(exclude_defaults=True))


def calibration_file(directory: Path) -> Path:
    """Where the calibration of the model in `directory` lies, or would."""
    new, old = directory / CALIBRATION_FILE, directory / OLD_FILE
    return old if old.is_file() and not new.is_file() else new


def tuned_wordings(file: Path) -> Mapping[str, int]:
    """The wording of each style that was tuned; its prompt is to be in that one.

    Raises ArtifactError for a file that holds no calibrations.
    """
    if not file.is_file():
        return {}
    policies = {
        name: bound.calibration.policy for name, bound in Artifact.read(file).styles.items()
    }
    return {
        name: policy.wording
        for name, policy in policies.items()
        if isinstance(policy, FixedPolicy) and policy.wording
    }


def load_calibration(
    file: Path, style: str, prompt_hash: str, model_digest: str | None = None
) -> Calibration | None:
    """The calibration in `file`, or None if there is none that fits.

    model_digest: of the weights that it must have been fitted on; None asks nothing. Raises
    ArtifactError for a file that holds no calibrations.
    """
    if not file.is_file():
        return None
    kept = Artifact.read(file)
    if model_digest not in (None, kept.model_digest):
        return None
    return kept.of(style, prompt_hash)


def _upgraded(old: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1 as version 2."""
    hashes = old.get("prompt_hashes", {})
    return {
        "version": 2,
        "model_digest": old.get("model_digest"),
        "styles": {
            style: {
                "prompt_hash": hashes.get(style, ""),
                "kind": "thresholds",
                "calibration": calibration,
            }
            for style, calibration in old["stoppers"].items()
        },
    }


def _unknown_kind(failure: ValidationError) -> str | None:
    """The kind of policy that was not known, if that is what is wrong."""
    wrong = [error for error in failure.errors() if error["loc"][-1:] == ("kind",)]
    return str(wrong[0]["input"]) if wrong else None
