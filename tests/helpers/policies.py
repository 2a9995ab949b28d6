"""Random priced policies, and one by hand."""

from __future__ import annotations

import random
from typing import Literal

from rrm.decision.priced import Chance, Depth, PricedPolicy, StateRule, Step
from rrm.decision.thresholds import Rule


def any_policy(
    seed: int,
    last_rung: int,
    start_at_end: bool = False,
    together: bool = False,
    searches: int = 0,
) -> PricedPolicy:
    """Any rule in any state. searches: how many it knows of."""
    rng = random.Random(f"policy {seed}")
    rungs: list[int | Literal["end"]] = [*range(last_rung), "end"]
    depths: list[Depth] = [*rungs]

    def asked(other: bool, number: int) -> StateRule:
        ways: list[tuple[Step, ...]] = [("search", "stop"), ("tie", "search", "stop"), ("search",)]
        if not other:
            ways += [("search", "other", "stop"), ("other", "search", "stop"), ("other", "stop")]
        steps = rng.choice(ways)
        cuts = tuple(sorted(rng.uniform(0, 3) for _ in steps[1:]))
        return StateRule(
            other=other,
            depth="query",
            searches=number,
            chance=_chance(rng),
            cuts=cuts,
            steps=steps,
        )

    def rule(other: bool, place: int) -> StateRule:
        on: Step = "both" if place == last_rung else rng.choice(rungs[place + 1 :])
        ways: list[tuple[Step, ...]] = [(on, "stop"), ("tie", on, "stop"), (on,), ("stop",)]
        if not other:
            ways += [(on, "other", "stop"), ("other", on, "stop"), ("other", "stop")]
        steps = rng.choice(ways)
        cuts = tuple(sorted(rng.uniform(0, 3) for _ in steps[1:]))
        return StateRule(
            other=other, depth=depths[place], chance=_chance(rng), cuts=cuts, steps=steps
        )

    rules = [rule(other, place) for place in range(last_rung + 1) for other in (False, True)]
    for number in range(searches):
        rules += [asked(other, number) for other in (False, True)]
        later = [rule(other, place) for place in range(last_rung) for other in (False, True)]
        rules += [one.model_copy(update={"searches": number + 1}) for one in later]
    both = Rule(agree=rng.uniform(0, 4)) if rng.random() < 0.5 else Rule(agree=0.0, differ=0.0)
    return PricedPolicy(
        price=0.001,
        start="end" if start_at_end else 0,
        together=together and not start_at_end,
        last_rung=last_rung,
        rules=tuple(rules),
        both=both,
    )


def _chance(rng: random.Random) -> Chance:
    return Chance(
        intercept=rng.uniform(-1, 1),
        margin=rng.uniform(0, 1),
        clipped=rng.uniform(0, 1),
        knee=rng.uniform(0, 2),
        prompt=rng.uniform(-0.5, 0.5),
        other=rng.uniform(0, 1),
    )


def buying(cut: float, last_rung: int, *, other: bool = True) -> PricedPolicy:
    """Sure from |log-odds| `cut` on; in doubt it reads the other order's prompt, then all.

    Log-odds are the mean of the margins seen. other: whether that prompt is for sale.
    """
    alone = Chance(intercept=0.0, margin=1.0, clipped=0.0, knee=0.0)
    both = Chance(intercept=0.0, margin=0.5, clipped=0.0, knee=0.0, other=0.5)
    rules = []
    depths: tuple[Depth, ...] = (0, "end")
    for depth in depths:
        on: Step = "both" if depth == "end" else "end"
        first: tuple[Step, ...] = ("other", "stop") if other and depth == 0 else (on, "stop")
        rules.append(StateRule(other=False, depth=depth, chance=alone, cuts=(cut,), steps=first))
        rules.append(
            StateRule(other=True, depth=depth, chance=both, cuts=(cut,), steps=(on, "stop"))
        )
    return PricedPolicy(price=0.001, start=0, last_rung=last_rung, rules=tuple(rules))
