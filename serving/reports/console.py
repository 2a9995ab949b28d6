"""Outcomes as people read them in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from judges.ranking import Ranking
from rrm.types import OrderReading, Score, StopReason, Unscored, Verdict

WHY = {
    StopReason.MARGIN: "the margin was wide enough",
    StopReason.TOO_CLOSE: "too close to call, and more thought was not worth its price",
    StopReason.UNPRODUCTIVE: "thought does not help this judge, by its calibration",
    StopReason.SHORT: "the judge itself chose to answer without thought",
    StopReason.ENDED: "both chains closed by themselves",
    StopReason.VOTED: "both chains left it open, so more of them voted",
    StopReason.TOKEN_LIMIT: "the token limit was reached, so the chains were closed",
    StopReason.NO_THOUGHT: "no thought was asked for",
    StopReason.BUDGET_SPENT: "the budget for all pairs had no more for this one",
    StopReason.DEADLINE: "its time was up, so the last checkpoint decided",
    StopReason.IDENTICAL: "the two responses are the same text",
    StopReason.AGREED: "both orders said the same without thought",
    StopReason.PLANNED: "the calibration has one depth and one number of votes for every pair",
    StopReason.PARSED: "the labels cannot be probed here, so the finished text was read",
}
HEADS = {"ab": "response a first", "ba": "response b first"}


SHOWN = 80
"""characters of what a search found"""


def verdict_text(outcome: Verdict | Unscored) -> RenderableType:
    """An outcome with its path over the checkpoints and, where it was asked for, its chains."""
    if isinstance(outcome, Unscored):
        return Group(
            Text(f"unscored: {outcome.reason}", style="bold red"),
            Text(f"  {outcome.detail}"),
            *_notes(outcome),
        )
    return Group(
        Text(headline(outcome), style="bold"),
        Text(f"  why it stopped   {WHY[outcome.reason]}"),
        Text(f"  thought          {thought(outcome)}"),
        Text(
            f"  judge            {outcome.judge.model}, style {outcome.judge.style}, "
            f"effort {outcome.judge.effort}"
        ),
        *_searches(outcome),
        *_certificate(outcome),
        *_notes(outcome),
        *([Padding(path_table(outcome), (1, 0, 0, 2))] if outcome.path else []),
        *(_chain(order) for order in outcome.orders if order.chain),
    )


def headline(outcome: Verdict) -> str:
    """Who won, how surely."""
    if outcome.preferred == "tie":
        return "neither response is better"
    orders = "both orders agree" if outcome.agree else "the two orders disagree"
    if outcome.agree is None:
        orders = "read in one order alone"
    elif len({order.thinking_tokens > 0 for order in outcome.orders}) == 2:
        orders = "settled in one order"
    return (
        f"response {outcome.preferred} is better   probability {outcome.probability:.2f}, "
        f"margin {outcome.margin:+.2f}, {orders}"
    )


def thought(outcome: Verdict) -> str:
    """What was spent on each order."""
    if not outcome.usage.thinking_tokens:
        return f"none; {outcome.usage.probe_tokens} tokens probed"
    spent = [order.thinking_tokens for order in outcome.orders if order.thinking_tokens]
    how = " + ".join(map(str, spent)) + ", one chain an order" if spent[1:] else "one order's chain"
    voted = outcome.usage.thinking_tokens - sum(spent)
    how += f"; then {voted} in votes" if voted else ""
    return (
        f"{outcome.usage.thinking_tokens} tokens ({how}); "
        f"{outcome.usage.probe_tokens} tokens probed"
    )


def path_table(outcome: Verdict) -> Table:
    """The margin at each checkpoint."""
    table = Table(box=None, pad_edge=False)
    for head in ("thinking tokens", "margin", "probability"):
        table.add_column(head, justify="right")
    table.add_column("orders")
    for point in outcome.path:
        table.add_row(
            str(point.thinking_tokens),
            f"{point.margin:+.2f}",
            f"{point.probability:.2f}",
            {None: "one read", True: "agree", False: "disagree"}[point.agree],
        )
    return table


def console(stderr: bool = False) -> Console:
    """Of a command. Texts of strangers are printed in it, so brackets are no markup."""
    return Console(stderr=stderr, highlight=False, markup=False)


def print_outcome(console: Console, outcome: Verdict | Unscored) -> None:
    """An outcome as `verdict_text` puts it."""
    console.print(verdict_text(outcome), soft_wrap=True, highlight=False)


def print_score(console: Console, responses: Sequence[str], outcome: Score | Unscored) -> None:
    """Each response with its score."""
    if isinstance(outcome, Unscored):
        print_outcome(console, outcome)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("score", justify="right")
    table.add_column("response", overflow="fold")
    for value, response in zip(outcome.scores, responses, strict=True):
        table.add_row(f"{value:.2f}", Text(response))
    console.print(table)
    said = f"{outcome.judge.model}, style {outcome.judge.style}"
    console.print(f"{outcome.usage.thinking_tokens} thinking tokens; {said}")


def print_ranking(console: Console, responses: Sequence[str], ranking: Ranking) -> None:
    """From the strongest on; responses that could not be compared last."""
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("strength", justify="right")
    table.add_column("response", overflow="fold")
    known = [strength for strength in ranking.strengths if strength is not None]
    for strength, response in sorted(
        zip(ranking.strengths, responses, strict=True),
        key=lambda one: -math.inf if one[0] is None else one[0],
        reverse=True,
    ):
        if strength is None:
            table.add_row("-", "-", Text(response))
        else:
            place = 1 + sum(other > strength for other in known)
            table.add_row(str(place), f"{strength:+.2f}", Text(response))
    console.print(table)
    console.print(f"{ranking.pairs} pairs compared, {ranking.thinking_tokens} thinking tokens")
    for failure in dict.fromkeys(ranking.failures):
        console.print(f"not compared: {failure}", style="yellow", soft_wrap=True)


def _certificate(outcome: Verdict) -> list[Text]:
    proof = outcome.judge.certificate
    if proof is None:
        return []
    lost = f"{100 * proof.epsilon:g} point{'' if proof.epsilon == 0.01 else 's'}"
    said = f"stopping early loses at most {lost} of {proof.promises}, {1 - proof.delta:.0%} sure"
    return [Text(f"  certified        {said} ({proof.n} pairs)")]


def _searches(outcome: Verdict) -> list[Text]:
    """What it looked up; a note says what failed."""
    lines = []
    for one in outcome.judge.searches:
        found = " ".join((one.found or "nothing").split())
        found = found if len(found) <= SHOWN else f"{found[:SHOWN]}..."
        where = f" ({', '.join(one.sources)})" if one.sources else ""
        lines.append(Text(f"  looked up        {one.query}: {found}{where}"))
    return lines


def _notes(outcome: Verdict | Unscored) -> list[Text]:
    return [Text(f"  note             {note}") for note in outcome.judge.notes]


def _chain(order: OrderReading) -> RenderableType:
    ending = ", cut here" if order.forced else ""
    head = f"chain, {HEADS[order.order]} ({order.thinking_tokens} tokens{ending}):"
    said = Text(order.chain or "(none)", no_wrap=False, overflow="fold")
    return Padding(Group(Text(head, style="dim"), said), (1, 0, 0, 2))
