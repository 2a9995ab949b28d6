"""Traces -> Stopper: how sure a margin is at each checkpoint, what thought is worth at each price,
and which price is proved to keep the accuracy.

Half of the traces fit curves and policies; the other half, which no fit has seen, certifies one.
Needs numpy and scipy (`closecall[calibrate]`) and no model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from rrm.audit import Expected
from rrm.certificate import certified, labels_needed
from rrm.productivity import Z95, productivity
from rrm.replay import Played, Table, play, rules_of
from rrm.stopping import ALWAYS, AT_ONCE, LOOK_TOKENS, NEVER, Curve, Policy, Rule, Stage, Stopper
from rrm.trace import VOTE_TEMPERATURE, Trace
from rrm.types import Certificate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

Promise = Literal["accuracy", "self-agreement"]
PRICES = tuple(1e-5 * 10 ** (step / 12) for step in range(37))
"""accuracy that a token must bring, as a share: from .00001 to .01"""
RIDGE = 1e-2
"""weight of the prior that keeps the curve of a stage without errors finite"""
CLOSEST = 0.55
"""a verdict more likely right than this is never given up as a tie"""
LEAST_CLOSE = 0.01
"""share of the traces that must be so close before a tie is a way to end"""
FEWEST = 200
"""traces without which no policy is fitted"""


def fit_curve(margins: Numbers, rights: Flags) -> Curve:
    """Platt scaling (Platt 1999): maximum likelihood with add-one smoothed targets.

    A small ridge on the slope keeps it finite where no verdict was wrong; it is never negative.
    With no data at all, the curve knows nothing: 0.5 everywhere.
    """
    import numpy as np
    from scipy.optimize import minimize

    if not len(margins):
        return Curve(intercept=0.0, slope=0.0)
    x = np.abs(margins)
    wins = int(rights.sum())
    target = np.where(rights, (wins + 1) / (wins + 2), 1 / (len(rights) - wins + 2))

    def loss(weights: Numbers) -> float:
        logit = weights[0] + weights[1] * x
        likelihood = np.logaddexp(0, logit) - target * logit
        return float(likelihood.sum() + RIDGE * weights[1] ** 2)

    found = minimize(loss, np.array([0.0, 1.0]), bounds=[(None, None), (0.0, None)])
    return Curve(intercept=float(found.x[0]), slope=float(found.x[1]))


def fit_stages(table: Table) -> tuple[Stage, ...]:
    """The curves of every place of the table."""
    stages = []
    end = table.ladder[-1] if table.ladder else 0
    for place, tokens in enumerate((0, *table.ladder, end, end, end)[: table.last + 1]):
        here = table.there[:, place]
        curves = []
        for agree in (True, False):
            seen = here & (table.agree[:, place] == agree)
            curves.append(fit_curve(table.margin[seen, place], table.right[seen, place]))
        stages.append(Stage(thinking_tokens=tokens, agree=curves[0], differ=curves[1]))
    return tuple(stages)


def probabilities(table: Table, stages: Sequence[Stage]) -> Numbers:
    """[traces, places]: that the verdict there is right, by the curves."""
    import numpy as np
    from scipy.special import expit

    found = np.zeros_like(table.margin)
    for place, stage in enumerate(stages):
        margin = table.margin[:, place]
        sure, split = (
            expit(curve.intercept + curve.slope * margin) for curve in (stage.agree, stage.differ)
        )
        found[:, place] = np.where(table.agree[:, place], sure, split)
    return np.maximum(found, 0.5)


def best_policy(
    table: Table,
    chance: Numbers,
    price: float,
    looks: Collection[int],
    look_tokens: float = LOOK_TOKENS,
) -> tuple[Policy, float]:
    """The thresholds that are worth most at `price`, with that worth: accuracy less cost, mean.

    Backward induction for optimal stopping (Longstaff and Schwartz, 2001), from the end of both
    chains to the prompt. At each checkpoint of `looks`, where a trace would stop if it went on is
    known by then, so the threshold that gains most over going on is found by sorting; so is the
    margin below which a tie, worth one half, beats going on. Chances by the curves stand for
    outcomes, which are noisier.
    """
    import numpy as np

    last = table.last
    rules = [NEVER] * last
    worth = chance[:, last] - price * table.tokens[:, last]
    for place in range(last - 1, -1, -1):
        here = table.there[:, place]
        if place not in looks or not here.any():
            continue
        now = chance[:, place] - price * table.tokens[:, place]
        on = worth - price * look_tokens
        least = {}
        for name, kind in (("agree", True), ("differ", False)):
            rows = np.flatnonzero(here & (table.agree[:, place] == kind))
            least[name] = _threshold(table.margin[rows, place], (now - on)[rows])
        stops = here & Rule(**least).stops(table.margin[:, place], table.agree[:, place])
        tie = 0.5 - price * table.tokens[:, place]
        left = np.flatnonzero(here & ~stops)
        close = _closest(table.margin[left, place], chance[left, place], (tie - on)[left])
        rule = Rule(**least, close=close)
        ties = here & rule.ties(table.margin[:, place], table.agree[:, place])
        if ties.sum() < LEAST_CLOSE * len(table):
            rule, ties = Rule(**least), np.zeros(len(table), dtype=bool)
        if not rule.looks:
            continue
        rules[place] = rule
        worth = np.where(stops, now, np.where(ties, tie, np.where(here, on, worth)))
    lead = table.both - 1
    policy = Policy(
        price=price,
        rules=tuple(rules[:lead]),
        lead=rules[lead],
        both=rules[table.both] if last > table.both else ALWAYS,
    )
    return policy, float(worth.mean())


def _threshold(margins: Numbers, gains: Numbers) -> float:
    """The least margin from which on stopping gains most in sum; infinite if it never gains."""
    import numpy as np

    order = np.argsort(-margins, kind="stable")
    sums = _between(margins[order], np.cumsum(gains[order]))
    if not len(sums) or sums.max() <= 0:
        return float("inf")
    best = int(sums.argmax())
    if best + 1 == len(order):
        return 0.0
    return float((margins[order[best]] + margins[order[best + 1]]) / 2)


def _closest(margins: Numbers, chances: Numbers, gains: Numbers) -> float:
    """The margin below which giving up gains most in sum; 0 if it never gains."""
    import numpy as np

    order = np.argsort(margins, kind="stable")
    told = np.flatnonzero(chances[order] >= CLOSEST)
    sums = _between(margins[order], np.cumsum(gains[order]))
    sums = sums[: told[0] if len(told) else len(order)]
    if not len(sums) or sums.max() <= 0:
        return 0.0
    best = int(sums.argmax())
    if best + 1 == len(order):
        return float(np.nextafter(margins[order[best]], np.inf))
    return float((margins[order[best]] + margins[order[best + 1]]) / 2)


def _between(margins: Numbers, sums: Numbers) -> Numbers:
    """`sums` without those behind which an equal margin follows: no threshold parts the two."""
    import numpy as np

    follows = np.append(margins[1:] == margins[:-1], False) if len(margins) else margins == 0
    return np.where(follows, -np.inf, sums)


def fit_policy(
    table: Table, chance: Numbers, price: float, look_tokens: float = LOOK_TOKENS
) -> Policy:
    """The best policy, with the checkpoints that do not pay passed over one by one."""
    best, most = best_policy(table, chance, price, range(table.last), look_tokens)
    while True:
        rules = rules_of(best, table)
        looks = [place for place in range(table.last) if rules[place].looks]
        tried = [
            best_policy(table, chance, price, [p for p in looks if p != without], look_tokens)
            for without in looks
        ]
        found = max(tried, key=lambda one: one[1], default=None)
        if found is None or found[1] < most:
            return best
        best, most = found


def fit_stopper(
    table: Table,
    source: str,
    prices: Sequence[float] = PRICES,
    look_tokens: float = LOOK_TOKENS,
) -> Stopper:
    """Curves for every checkpoint and a policy for every price; none of them chosen."""
    stages = fit_stages(table)
    chance = probabilities(table, stages)
    policies = []
    for price in prices:
        policy = fit_policy(table, chance, price, look_tokens)
        played = play(table, policy)
        spends = {"tokens": float(played.tokens.mean()), "looks": float(played.looks.mean())}
        policies.append(policy.model_copy(update=spends))
    return Stopper(
        source=source,
        stages=stages[: table.both - 1],
        lead=stages[table.both - 1],
        both=stages[table.both],
        votes=stages[table.last] if table.last > table.both else None,
        policies=tuple(policies),
        look_tokens=look_tokens,
        whole_tokens=float(table.tokens[:, table.both].mean()),
        chosen=None,
    )


def certify(
    stopper: Stopper,
    table: Table,
    epsilon: float,
    delta: float,
    bond: Mapping[str, str],
    promises: Promise = "accuracy",
) -> Stopper:
    """Choose the dearest price that is proved to lose at most `epsilon` of whole chains' accuracy.

    table: of traces that `stopper` was not fitted on. bond: the certificate's hashes. Where no
    price is proved, none is chosen and whole chains are thought.
    """
    whole = table.right[:, table.both]
    counts = []
    for policy in stopper.policies:
        right = play(table, policy).right
        counts.append((int((whole & ~right).sum()), int((right & ~whole).sum())))
    chosen = certified(counts, len(table), epsilon, delta)
    certificate = expected = None
    if chosen is not None:
        expected = _expected(table, play(table, stopper.policies[chosen]))
        certificate = Certificate(
            epsilon=epsilon,
            delta=delta,
            n=len(table),
            lost=counts[chosen][0],
            gained=counts[chosen][1],
            price=stopper.policies[chosen].price,
            promises=promises,
            **bond,
        )
    return stopper.model_copy(
        update={"chosen": chosen, "certificate": certificate, "expected": expected}
    )


def _expected(table: Table, played: Played) -> Expected:
    """What an audit of this policy should find: upper bounds at 97.5 %."""
    import numpy as np
    from scipy.stats import beta

    n = len(table)
    apart = int(((played.right != table.right[:, table.both]) | played.tied).sum())
    spent = played.tokens / np.maximum(1.0, table.tokens[:, table.both])
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
    look_tokens: float = LOOK_TOKENS,
) -> Stopper:
    """Fit on every other trace, certify on the rest. temperature: of the chains; look_tokens: what
    a look costs, in generated tokens.

    A judge that thought does not help gets none, certified or not. With fewer than FEWEST traces
    only that is told; curves rest on all of them then, and whole chains are thought.
    """
    table = Table.of(traces, ladder)
    own = any(trace.own for trace in traces)
    few = len(traces) < FEWEST
    # Not on the half that certifies: the policy hangs on what this finds. Without labels there is
    # nothing to find, its own verdict being always its own.
    report = None if own else productivity(traces if few else traces[::2], ladder)
    fitted = table if few else table.part(slice(0, None, 2))
    stopper = fit_stopper(fitted, source, () if few else PRICES, look_tokens)
    most_votes = max(len(trace.votes) for trace in traces)
    stopper = stopper.model_copy(
        update={
            "temperature": temperature,
            "vote_temperature": vote_temperature,
            "most_votes": most_votes,
            "productivity": report,
        }
    )
    if not stopper.thinks:
        stopper = stopper.model_copy(update={"policies": (AT_ONCE,)})
    if not few:
        proof: Promise = "self-agreement" if own else "accuracy"
        stopper = certify(stopper, table.part(slice(1, None, 2)), epsilon, delta, bond, proof)
    return stopper if stopper.thinks else stopper.model_copy(update={"chosen": 0})


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
