"""Sums with a name or two among the operands, which only a search can tell.

Values are drawn anew for every sum, so nothing about a name can be learnt by heart: without a
search a verdict is a guess, after it the sum is one like any other.
"""

from __future__ import annotations

import random

from judges.nano.data import LIMIT, Lookup, Problem, Step

LETTERS = "bcdfghjkmnpqrtuvwyz"
NOT_FOUND, REFUSED = "not found", "refused"
FAILED = 0.2
"""share of sums whose last search fails, by either answer"""


def draw_lookup(rng: random.Random) -> Problem:
    """A sum of two to four operands; one of them is a name, in a third of the sums two are."""
    while True:
        count = rng.choices([2, 3, 4], [5, 3, 1])[0]
        most = 99 if rng.random() < 0.75 else LIMIT
        terms = [rng.randint(1, most) for _ in range(count)]
        if sum(terms) <= LIMIT:
            break
    rounds = 1 if rng.random() < 2 / 3 else 2
    places = sorted(rng.sample(range(count), rounds))
    names = rng.sample(LETTERS, rounds)
    answers = [f"{name} is {terms[place]:03d}" for name, place in zip(names, places, strict=True)]
    if rng.random() < FAILED:
        answers[-1] = rng.choice((NOT_FOUND, REFUSED))
    shown = list(map(str, terms))
    for name, place in zip(names, places, strict=True):
        shown[place] = name
    steps, total = [], terms[0]
    for term in terms[1:]:
        steps.append(Step(total, "+", term, total + term))
        total += term
    text, form = " + ".join(shown), rng.random()
    if form < 0.2:
        text = f"the sum of {', '.join(shown[:-1])} and {shown[-1]}"
    elif form < 0.3 and count == 2:
        text = f"{shown[0]} plus {shown[1]}"
    lookups = zip(names, (terms[place] for place in places), answers, strict=True)
    return Problem(text, tuple(steps), total, tuple(Lookup(*lookup) for lookup in lookups))
