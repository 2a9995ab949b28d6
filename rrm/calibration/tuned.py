"""A calibration of kind `fixed`, from the arms that were chosen at rising prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rrm.calibration.arrays import TraceArrays
from rrm.calibration.calibration import Calibration, PlattScalers
from rrm.calibration.certify import certified
from rrm.calibration.fit import fit_curve, fit_stages
from rrm.calibration.trace import VOTE_TEMPERATURE, Trace
from rrm.calibration.tune import Arm, Sampled, arm_margins, whole_arm
from rrm.decision.fixed import FixedPolicy
from rrm.types import Certificate


def tuned(
    fitted: Sampled,
    held: Sampled,
    chosen: Sequence[tuple[float, Arm]],
    traces: Sequence[Trace],
    ladder: Sequence[int],
    source: str,
    bond: Mapping[str, str],
    epsilon: float,
    delta: float,
    temperature: float,
) -> Calibration:
    """The dearest price whose arm is proved, on `held`, to lose at most `epsilon`.

    What is kept is the accuracy of whole chains in the style's own wording. chosen: price and arm,
    by rising price, found on `fitted`. traces: of the pairs in `fitted`, in the own wording.
    """
    import numpy as np

    own = arm_margins(held, whole_arm(held)) > 0
    counts = []
    for _, arm in chosen:
        right = arm_margins(held, arm) > 0
        counts.append((int((own & ~right).sum()), int((right & ~own).sum())))
    best = certified(counts, len(own), epsilon, delta)
    policies = tuple(_policy(fitted, price, arm) for price, arm in chosen)
    arm = whole_arm(held) if best is None else chosen[best][1]
    stages, lead, both, _ = fit_stages(TraceArrays.of(traces, ladder))
    margins = arm_margins(fitted, arm)
    curve = fit_curve(np.abs(margins), margins > 0)
    shown = PlattScalers(thinking_tokens=both.thinking_tokens, agree=curve, differ=curve)
    proof = None
    if best is not None:
        proof = Certificate(
            epsilon=epsilon,
            delta=delta,
            n=len(own),
            lost=counts[best][0],
            gained=counts[best][1],
            price=chosen[best][0],
            **bond,
        )
    return Calibration(
        source=source,
        temperature=temperature,
        stages=tuple(stages),
        lead=lead,
        both=shown,
        votes=shown,
        most_votes=max(arm.votes for _, arm in chosen),
        vote_temperature=VOTE_TEMPERATURE,
        policies=policies,
        chosen=best,
        certificate=proof,
    )


def _policy(sampled: Sampled, price: float, arm: Arm) -> FixedPolicy:
    whole = arm.depth == len(sampled.depths) - 1
    return FixedPolicy(
        price=price,
        wording=arm.wording,
        depth=None if whole else sampled.depths[arm.depth],
        votes=arm.votes,
        aggregation=arm.aggregation,
        tokens=float(sampled.rights(arm)[1].mean()),
    )
