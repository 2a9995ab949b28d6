"""Stopper: from how close a pair is to whether more thought is worth it.

A stopper is fitted on traces of one model in one style. For each checkpoint it holds a logistic
curve from |margin| to the probability that the verdict is right, one curve where both orders agree
and one where they do not (Platt scaling, 1999), and one confidence at which to stop. A curve per
checkpoint matters: confidence rises with length even on wrong chains. A checkpoint at which next
to nobody stops costs more than it saves, and is passed over.

A checkpoint is where one order's chain, the leading one, has thought for so many tokens and the
other has not begun. Only where the whole leading chain leaves it open does the other think too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import ConfigDict, Field

from rrm.types import At, Frozen

STOPPER_FILE = "stopper.json"


class Curve(Frozen):
    """P(right) = 1 / (1 + exp(-(intercept + slope |margin|))), the slope never negative."""

    intercept: float
    slope: float = Field(ge=0.0)

    def __call__(self, margin: float) -> float:
        return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, self.logit(margin)))))

    def logit(self, margin: float) -> float:
        return self.intercept + self.slope * abs(margin)

    def threshold(self, confidence: float) -> float:
        """Least |margin| that reaches `confidence`; infinite if none does."""
        needed = math.log(confidence / (1.0 - confidence)) - self.intercept
        if needed <= 0.0:
            return 0.0
        return needed / self.slope if self.slope > 0.0 else math.inf


class Stage(Frozen):
    """The curves of one checkpoint."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # a threshold may be infinite

    thinking_tokens: int = Field(description="of the leading chain, at this checkpoint")
    agree: Curve
    differ: Curve
    stop_agree: float = Field(description="stop at this |margin| or more if both orders agree")
    stop_differ: float = Field(description="the same where they do not")
    look: bool = Field(True, description="whether reading this checkpoint pays")

    def at(self, confidence: float) -> Stage:
        """The same curves with the thresholds of another confidence."""
        return self.model_copy(
            update={
                "stop_agree": self.agree.threshold(confidence),
                "stop_differ": self.differ.threshold(confidence),
            }
        )


class Stopper(Frozen):
    """When to stop thinking, for one model in one style."""

    source: str = Field(description="what it was fitted on")
    confidence: float
    stages: tuple[Stage, ...]
    lead: Stage = Field(description="for a leading chain that has closed by itself")
    final: Stage = Field(description="for two chains that have")

    def at(self, confidence: float) -> Stopper:
        """The same curves with the thresholds of another confidence."""
        stages = tuple(stage.at(confidence) for stage in self.stages)
        return self.model_copy(
            update={
                "confidence": confidence,
                "stages": stages,
                "lead": self.lead.at(confidence),
                "final": self.final.at(confidence),
            }
        )

    def keeping(self, looks: Collection[int]) -> Stopper:
        """The same stopper that looks at the checkpoints `looks` only."""
        stages = tuple(
            stage.model_copy(update={"look": index in looks})
            for index, stage in enumerate(self.stages)
        )
        return self.model_copy(update={"stages": stages})

    def looks(self, at: At) -> bool:
        """Whether this checkpoint is worth a look."""
        return self.stage(at).look

    def stage(self, at: At) -> Stage:
        """The stage for checkpoint `at`; the last one stands in beyond the ladder."""
        if isinstance(at, int):
            return self.stages[min(at, len(self.stages) - 1)]
        return self.lead if at == "lead" else self.final

    def probability(self, at: At, margin: float, agree: bool) -> float:
        """That the verdict read at checkpoint `at` is right; 0.5 to 1."""
        stage = self.stage(at)
        return max(0.5, (stage.agree if agree else stage.differ)(margin))

    def stop(self, at: At, margin: float, agree: bool) -> bool:
        """Whether this margin is wide enough to stop at checkpoint `at`."""
        stage = self.stage(at)
        return stage.look and abs(margin) >= (stage.stop_agree if agree else stage.stop_differ)


class Stoppers(Frozen):
    """`stopper.json`: one stopper a style, each bound to the prompt it was fitted with."""

    model_digest: str = ""
    """sha256 of the weights"""
    stoppers: Mapping[str, Stopper]
    prompt_hashes: Mapping[str, str]

    def of(self, style: str, prompt_hash: str) -> Stopper | None:
        """The stopper for `style`, unless its prompt has changed since it was fitted."""
        if self.prompt_hashes.get(style) != prompt_hash:
            return None
        return self.stoppers.get(style)


def load_stopper(directory: Path, style: str, prompt_hash: str) -> Stopper | None:
    """The stopper beside the weights in `directory`, or None if there is none that fits."""
    path = directory / STOPPER_FILE
    if not path.is_file():
        return None
    return Stoppers.model_validate_json(path.read_text(encoding="utf-8")).of(style, prompt_hash)


def uncalibrated(margin: float) -> float:
    """The judge's own word for how sure it is: the logistic of a log-odds margin, 0.5 to 1."""
    return 1.0 / (1.0 + math.exp(-min(40.0, abs(margin))))
