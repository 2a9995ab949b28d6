"""What nano learns from: arithmetic asked in plain English, responses that state a number, chains.

The response nearer to the truth is better. Far-apart responses can be told apart by an estimate,
near ones only by working the sum out, so closeness and the value of thought are tied by
construction and known exactly. Every number is whole and at most 999.

Beside these, `lookups` has sums whose operands must be searched for, and `tricks` has responses
that try to win by other means than a right number.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

QUESTIONS = (
    "What is {x}?",
    "Compute {x}.",
    "Calculate {x}.",
    "How much is {x}?",
    "{x} = ?",
    "Work out {x}.",
    "What does {x} equal?",
    "Find {x}.",
    "Please compute {x}.",
    "Can you tell me what {x} is?",
)
REPLIES = (
    "{n}",
    "{n}.",
    "The answer is {n}.",
    "It is {n}.",
    "It comes to {n}.",
    "That is {n}.",
    "I think it is {n}.",
    "{x} = {n}",
    "The result is {n}.",
    "Answer: {n}",
)
LIMIT = 999
"""of every number: operands, results, responses"""
FARTHEST_MISS = 300
BANDS = (("1-3", 1, 3), ("4-20", 4, 20), ("21-100", 21, 100), ("over 100", 101, LIMIT))
"""closeness: by how much the errors of two responses differ; name, least, most"""
NAMES = {
    "rrm": ("Assistant 1", "Assistant 2"),
    "rm-r1": ("Chatbot A", "Chatbot B"),
    "grm": ("Response 1", "Response 2", "Response 3", "Response 4"),
    "thinkless": ("Assistant 1", "Assistant 2"),
}
"""how each style's chain calls the responses"""
SEARCH, RESULT = ("<search>", "</search>"), ("<result>", "</result>")
"""stand around a name that is searched for, and around what was found"""
NO_NUMBER, BLANK = LIMIT + 1, LIMIT + 2
"""errors of a response that states no number, and of one that says nothing: the worst"""


@dataclass(frozen=True)
class Step:
    """One line of working: `left sign right = result`."""

    left: int
    sign: str
    right: int
    result: int


@dataclass(frozen=True)
class Lookup:
    """A name among the operands, its value, and what the search for it gives."""

    name: str
    value: int
    answer: str
    """`k is 037`, `not found` or `refused`"""

    @property
    def found(self) -> bool:
        return self.answer.endswith(f"{self.value:03d}")


@dataclass(frozen=True)
class Problem:
    """An expression in words or signs, how to work it out, and what it comes to."""

    text: str
    steps: tuple[Step, ...]
    truth: int
    lookups: tuple[Lookup, ...] = ()
    """in the order in which they are searched for"""

    @property
    def known(self) -> bool:
        """Whether everything that it needs was found."""
        return all(lookup.found for lookup in self.lookups)


@dataclass(frozen=True)
class Example:
    """A question with one to four responses, no two of them equally far from the truth."""

    problem: Problem
    question: str
    responses: tuple[str, ...]
    values: tuple[int | None, ...]
    """the number that each response states; None: it states none"""

    @property
    def errors(self) -> tuple[int, ...]:
        """By how much each response misses the truth; NO_NUMBER and BLANK are worse than any."""
        return tuple(
            (NO_NUMBER if text.strip() else BLANK)
            if value is None
            else abs(value - self.problem.truth)
            for text, value in zip(self.responses, self.values, strict=True)
        )

    @property
    def gap(self) -> int:
        """By how much the first two errors differ."""
        return abs(self.errors[0] - self.errors[1])

    @property
    def better(self) -> int:
        """Which of the first two responses is nearer to the truth: 0 or 1."""
        return int(self.errors[1] < self.errors[0])


def draw(rng: random.Random, n: int = 2, progress: float = 1.0) -> Example:
    """A random example with `n` responses; `progress` through training, from 0 to 1."""
    problem = draw_problem(rng, progress)
    return respond(rng, problem, n)


def respond(rng: random.Random, problem: Problem, n: int) -> Example:
    """`problem` asked in some words, with `n` random responses."""
    values = draw_values(rng, problem.truth, n)
    responses = tuple(rng.choice(REPLIES).format(n=value, x=problem.text) for value in values)
    question = rng.choice(QUESTIONS).format(x=problem.text)
    return Example(problem, question, responses, values)


def draw_problem(rng: random.Random, progress: float = 1.0) -> Problem:
    """Sums, differences and products; three-digit operands and long sums come later."""
    while True:
        most = 99 if rng.random() < 0.75 or progress < 0.3 else LIMIT
        family = rng.random()
        if family < 0.6:
            problem = _sum(rng, most, short=progress < 0.15)
        elif family < 0.8:
            problem = _difference(rng, most)
        else:
            problem = _product(rng, most)
        if problem.truth <= LIMIT:
            return problem


def _sum(rng: random.Random, most: int, short: bool) -> Problem:
    count = rng.choices([2, 3, 4, 5], [3, 4, 3, 1])[0]
    terms = [rng.randint(1, most) for _ in range(min(count, 3) if short else count)]
    steps, total = [], terms[0]
    for term in terms[1:]:
        steps.append(Step(total, "+", term, total + term))
        total += term
    text, form = " + ".join(map(str, terms)), rng.random()
    if form < 0.2:
        text = f"the sum of {', '.join(map(str, terms[:-1]))} and {terms[-1]}"
    elif form < 0.3 and len(terms) == 2:
        text = f"{terms[0]} plus {terms[1]}"
    return Problem(text, tuple(steps), total)


def _difference(rng: random.Random, most: int) -> Problem:
    low, high = sorted((rng.randint(1, most), rng.randint(1, most)))
    text = rng.choice(
        [
            f"{high} - {low}",
            f"{high} - {low}",
            f"the difference between {high} and {low}",
            f"{high} minus {low}",
        ]
    )
    return Problem(text, (Step(high, "-", low, high - low),), high - low)


def _product(rng: random.Random, most: int) -> Problem:
    number, factor = rng.randint(2, 99 if most == 99 else 199), rng.randint(2, 9)
    digits = str(number)[::-1]
    parts = [int(digit) * 10**place for place, digit in enumerate(digits) if digit != "0"][::-1]
    steps = [Step(part, "*", factor, part * factor) for part in parts]
    total = parts[0] * factor
    for part in parts[1:]:
        steps.append(Step(total, "+", part * factor, total + part * factor))
        total += part * factor
    if rng.random() < 0.5:
        text = f"{number} * {factor}"
    else:
        forms = (f"{number} times {factor}", f"the product of {number} and {factor}")
        text = rng.choice((*forms, f"{number} x {factor}"))
    return Problem(text, tuple(steps), total)


def draw_values(rng: random.Random, truth: int, n: int) -> tuple[int, ...]:
    """Distances from the truth are log-uniform; half of the time one response is right."""

    def miss() -> int:
        distance = int(math.exp(rng.uniform(0, math.log(FARTHEST_MISS))))
        return distance * rng.choice((-1, 1))

    while True:
        values = [truth if i == 0 and rng.random() < 0.5 else truth + miss() for i in range(n)]
        apart = len({abs(value - truth) for value in values}) == n
        if min(values) >= 0 and max(values) <= LIMIT and apart:
            rng.shuffle(values)
            return tuple(values)


def score(error: int) -> int:
    """1 to 10: an error of 0 scores 10, 1 scores 9, 2 and 3 score 8, 4 to 7 score 7, and so on."""
    return 10 - min(9, error.bit_length())


def chain(style: str, example: Example) -> str:
    """The whole thought, as one text."""
    return "".join(text for text, _ in chain_parts(style, example))


def chain_parts(style: str, example: Example) -> list[tuple[str, bool]]:
    """The whole thought: searches, the working, then each response's error.

    In pieces; with each, whether the judge writes it (the others are what a search gave). Every
    number has three digits, so that each digit of a result stands at a fixed distance from the
    digits it comes from.
    """
    parts: list[tuple[str, bool]] = []
    for lookup in example.problem.lookups:
        parts.append((f"{SEARCH[0]}{lookup.name}{SEARCH[1]}", True))
        parts.append((f"{RESULT[0]}{lookup.answer}{RESULT[1]}", False))
        if not lookup.found:
            return [*parts, ("none.", True)]
    return [*parts, (_working(style, example), True)]


def _working(style: str, example: Example) -> str:
    text, last = "", None
    for step in example.problem.steps:
        head = "" if step.left == last else f"{', ' if text else ''}{step.left:03d}"
        text += f"{head}{step.sign}{step.right:03d}={step.result:03d}"
        last = step.result
    truth = example.problem.truth
    for name, value in zip(NAMES[style], example.values, strict=False):
        if value is None:
            text += f". {name}: none"
            continue
        high, low = max(value, truth), min(value, truth)
        text += f". {name}: {high:03d}-{low:03d}={high - low:03d}"
    return text + "."


def verdict(style: str, errors: Sequence[int]) -> str:
    """What follows the style's verdict opening."""
    if style == "grm":
        return ", ".join(str(score(error)) for error in errors) + "}"
    second = errors[1] < errors[0]
    return f"{'AB'[second]}]]</answer>" if style == "rm-r1" else f"{second + 1}}}"
