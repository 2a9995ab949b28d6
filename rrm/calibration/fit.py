"""From traces to a Calibration.

How sure a margin is at each depth, what is worth buying at each price, and which price is proved to
keep the accuracy. Half of the traces fit curves and policies; the other half, which no fit has
seen, certifies one. Needs numpy and scipy (`closecall[calibrate]`) and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from rrm.calibration.arrays import TraceArrays
from rrm.calibration.bias import fit_conflict, position_bias
from rrm.calibration.calibration import Calibration, PlattScaler, PlattScalers
from rrm.calibration.certify import certified, labels_needed
from rrm.calibration.gain import Z95, thinking_gain
from rrm.calibration.learn import path, prices_of
from rrm.calibration.monitor import Expected
from rrm.calibration.replay import Walked, replay, whole
from rrm.calibration.trace import VOTE_TEMPERATURE, Trace
from rrm.decision.priced import TokenPrices
from rrm.decision.thresholds import PROMPT_ONLY
from rrm.types import Certificate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

Promise = Literal["accuracy", "self-agreement"]
RIDGE = 1e-2
"""weight of the prior that keeps the curve of a stage without errors finite"""
FEWEST = 200
"""traces without which no policy is fitted"""
PROBE_SUFFIX = 8
"""tokens of a probe where nothing else is known"""
COMPUTED = TokenPrices(kind="flops", read=1.0, cached=0.0, generated=1.0, suffix=PROBE_SUFFIX)
"""every token that is computed costs the same"""


def fit_curve(margins: Numbers, rights: Flags) -> PlattScaler:
    """Platt scaling (Platt 1999): maximum likelihood with add-one smoothed targets.

    A small ridge on the slope keeps it finite where no verdict was wrong; it is never negative.
    With no data at all, the curve knows nothing: 0.5 everywhere.
    """
    import numpy as np
    from scipy.optimize import minimize

    if not len(margins):
        return PlattScaler(intercept=0.0, slope=0.0)
    x = np.abs(margins)
    wins = int(rights.sum())
    target = np.where(rights, (wins + 1) / (wins + 2), 1 / (len(rights) - wins + 2))

    def loss(weights: Numbers) -> float:
        logit = weights[0] + weights[1] * x
        likelihood = np.logaddexp(0, logit) - target * logit
        return float(likelihood.sum() + RIDGE * weights[1] ** 2)

    found = minimize(loss, np.array([0.0, 1.0]), bounds=[(None, None), (0.0, None)])
    return PlattScaler(intercept=float(found.x[0]), slope=float(found.x[1]))


def fit_stages(
    arrays: TraceArrays,
) -> tuple[list[PlattScalers], PlattScalers, PlattScalers, PlattScalers | None]:
    """The curves of the ladder's depths, of the leading chain's end, of both, and of votes."""
    import numpy as np

    every = np.ones(len(arrays), dtype=bool)

    def stage(
        tokens: int, margin: Numbers, agree: Flags, alone: Numbers, some: Flags
    ) -> PlattScalers:
        def curve(margins: Numbers, rows: Flags) -> PlattScaler:
            return fit_curve(margins[rows], margins[rows] * arrays.truth[rows] > 0)

        return PlattScalers(
            thinking_tokens=tokens,
            agree=curve(margin, some & agree),
            differ=curve(margin, some & ~agree),
            alone=curve(alone, some),
        )

    stages = []
    for depth, tokens in enumerate((0, *arrays.ladder)):
        column = arrays.end if depth == len(arrays.ladder) else arrays.column(depth)
        lead = np.nan_to_num(arrays.lead[:, column])
        margin = (lead + arrays.other_prompt) / 2
        agree = lead * arrays.other_prompt > 0
        stages.append(stage(tokens, margin, agree, lead, arrays.there[:, column]))
    end, lead = stages[-1], arrays.lead[:, -1]
    both = stage(end.thinking_tokens, arrays.whole, arrays.agree, lead, every)
    votes = None
    if arrays.has_votes:
        votes = stage(end.thinking_tokens, arrays.voted, arrays.vote_agree, lead, every)
    return stages, end, both, votes


def fit_calibration(
    arrays: TraceArrays, source: str, tokens: TokenPrices, prices: Sequence[float] | None = None
) -> Calibration:
    """Curves for every depth and a policy for every price; none of them chosen."""
    stages, lead, both, votes = fit_stages(arrays)
    prices = prices_of(arrays, tokens) if prices is None else prices
    return Calibration(
        source=source,
        stages=tuple(stages),
        lead=lead,
        both=both,
        votes=votes,
        policies=tuple(path(arrays, tokens, prices)),
        token_prices=tokens,
        whole_tokens=float(whole(arrays).spent.thought.mean()),
        chosen=None,
    )


def certify(
    calibration: Calibration,
    arrays: TraceArrays,
    epsilon: float,
    delta: float,
    bond: Mapping[str, str],
    promises: Promise = "accuracy",
) -> Calibration:
    """Choose the dearest price that is proved to lose at most `epsilon` of whole chains' accuracy.

    arrays: of traces that `calibration` was not fitted on. bond: the certificate's hashes. Where no
    price is proved, none is chosen and whole chains are thought.
    """
    counts = []
    for policy in calibration.policies:
        lost = replay(arrays, policy).lost
        counts.append((int((lost > 0).sum()), int((lost < 0).sum())))
    chosen = certified(counts, len(arrays), epsilon, delta)
    certificate = expected = None
    if chosen is not None:
        expected = _expected(replay(arrays, calibration.policies[chosen]))
        certificate = Certificate(
            epsilon=epsilon,
            delta=delta,
            n=len(arrays),
            lost=counts[chosen][0],
            gained=counts[chosen][1],
            price=calibration.policies[chosen].price,
            promises=promises,
            **bond,
        )
    return calibration.model_copy(
        update={"chosen": chosen, "certificate": certificate, "expected": expected}
    )


def _expected(walked: Walked) -> Expected:
    """What an audit of this policy should find: upper bounds at 97.5 %."""
    import numpy as np
    from scipy.stats import beta

    n = len(walked.arrays)
    apart = int((walked.tied | (walked.value * walked.arrays.whole <= 0)).sum())
    full = whole(walked.arrays).spent.thought
    spent = np.minimum(1.0, walked.spent.thought / np.maximum(1.0, full))
    doubt = Z95 * float(spent.std()) / n**0.5
    return Expected(
        apart=float(beta.ppf(0.975, apart + 1, n - apart)) if apart < n else 1.0,
        spent=min(1.0, float(spent.mean()) + doubt),
    )


def calibrated(
    traces: Sequence[Trace],
    ladder: Sequence[int],
    source: str,
    bond: Mapping[str, str],
    epsilon: float = 0.01,
    delta: float = 0.1,
    temperature: float = 0.0,
    vote_temperature: float = VOTE_TEMPERATURE,
    tokens: TokenPrices = COMPUTED,
) -> Calibration:
    """Fit on every other trace, certify on the rest.

    temperature: of the chains; tokens: what they cost. A judge that thought does not help gets
    none, certified or not. With fewer than FEWEST traces only that is told; curves rest on all of
    them then, and whole chains are thought.
    """
    arrays = TraceArrays.of(traces, ladder)
    own = any(trace.own for trace in traces)
    few = len(traces) < FEWEST
    # Not on the half that certifies: the policy hangs on what this finds. Without labels there is
    # nothing to find, its own verdict being always its own.
    report = None if own else thinking_gain(traces if few else traces[::2], ladder)
    fitted = arrays if few else arrays.part(slice(0, None, 2))
    calibration = fit_calibration(fitted, source, tokens, () if few else None)
    most_votes = max(len(trace.votes) for trace in traces)
    calibration = calibration.model_copy(
        update={
            "temperature": temperature,
            "vote_temperature": vote_temperature,
            "most_votes": most_votes,
            "productivity": report,
            "position_bias": position_bias(traces, ladder),
            **({} if own else {"conflict": fit_conflict(fitted)}),
        }
    )
    if not calibration.thinks:
        calibration = calibration.model_copy(update={"policies": (PROMPT_ONLY,)})
    if not few:
        proof: Promise = "self-agreement" if own else "accuracy"
        calibration = certify(
            calibration, arrays.part(slice(1, None, 2)), epsilon, delta, bond, proof
        )
    return calibration if calibration.thinks else calibration.model_copy(update={"chosen": 0})


def shortfall(labels: int, epsilon: float, delta: float) -> str:
    """Why so many labels have proved nothing, and how many would do."""
    least = 2 * labels_needed(epsilon, delta)
    if labels < least:
        return (
            f"{labels} labels cannot prove a loss of at most {epsilon:g} (at {delta:g}): at least "
            f"{least} are needed, half to fit and half to prove"
        )
    return (
        f"no price of thought was proved to lose at most {epsilon:g} (at {delta:g}) on {labels} "
        "labels; give more, or allow a greater loss"
    )
