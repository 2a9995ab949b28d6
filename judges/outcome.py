"""From where a judgement ended to what is told of it: a verdict, or why there is none. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from judges.options import TIE, JudgeOptions
from judges.written import sides, stated
from rrm.calibration.calibration import Calibration, Weighed, contradict, uncalibrated
from rrm.decision.chains import ORDERS, Order, PairReadout, SwapPair
from rrm.decision.driver import Decision
from rrm.decision.fixed import Rules
from rrm.decision.state import Readout
from rrm.parse import ParsedVerdict, Unread
from rrm.search.evidence import Evidence
from rrm.types import (
    SCHEMA,
    Checkpoint,
    OrderReading,
    Preference,
    Provenance,
    StopReason,
    Unscored,
    UnscoredReason,
    Usage,
    Verdict,
)

SPENT = "nothing is left of the budget for all pairs; give more, or fewer pairs"
LATE = (StopReason.DEADLINE, StopReason.BUDGET_SPENT)
"""reasons that no certificate covers"""
EARLY = (StopReason.MARGIN, StopReason.TOO_CLOSE, StopReason.UNPRODUCTIVE)
"""reasons that a policy has, which knows what order alone does"""
WHOLE = ("both", "votes")
"""where both chains are whole"""
CONFLICT = (
    "the orders contradict each other, and what is left when what they say is averaged is no more "
    "than the order alone explains"
)


@dataclass(frozen=True)
class OutcomeBuilder:
    """All that an outcome tells beside the decision.

    calibration: None leaves the model's word. policy: what was followed.
    """

    options: JudgeOptions
    chains: SwapPair
    path: Sequence[Readout]
    usage: Usage
    judge: Provenance
    calibration: Calibration | None
    policy: Rules | None = None

    def build(self, decision: Decision) -> Verdict | Unscored:
        """A failed judge is never a score."""
        last = decision.last
        if decision.reason is StopReason.BUDGET_SPENT and (last is None or last.reading is None):
            return self.unscored("budget", SPENT)
        if last is None:
            return self.unscored("unparseable", "nothing was read")
        if last.reading is None:
            return self._written(last.replies, decision.reason)
        if not last.readable:
            if decision.reason is StopReason.BUDGET_SPENT and self.chains.ended:
                return self.unscored("budget", SPENT)  # for the verdict to be written out
            return self._unreadable(last, decision.reason)
        if decision.reason not in EARLY and last.place in WHOLE and self._contradict(last.reading):
            return self.unscored("order_conflict", CONFLICT)
        return self._read(last, last.reading, decision.reason)

    def _contradict(self, reading: PairReadout) -> bool:
        """Whether all that both orders say is which of them they were asked in."""
        calibration = self.calibration
        if calibration is None:
            return contradict(reading.margins)
        return contradict(reading.margins, calibration.conflict)

    def unscored(self, reason: UnscoredReason, detail: str) -> Unscored:
        return Unscored(
            version=SCHEMA, reason=reason, detail=detail, usage=self.usage, judge=self.judge
        )

    def _read(self, last: Readout, reading: PairReadout, reason: StopReason) -> Verdict:
        found = weighed(last, self.calibration, self.policy)
        margin, sure = (reading.margin, 0.5) if found is None else found
        tie = abs(margin) < TIE or reason is StopReason.TOO_CLOSE
        preferred: Preference = "tie" if tie else "a" if margin > 0 else "b"
        sure = 0.5 if tie else sure
        return self._verdict(preferred, sure, margin, reading.margins, reading.scores, reason)

    def _unreadable(self, last: Readout, reason: StopReason) -> Unscored:
        natural = reason in (StopReason.ENDED, StopReason.TOKEN_LIMIT)
        if natural and self.chains.ended:
            return self.unscored("truncated", "no tokens left to write the verdict out")
        why: UnscoredReason = "truncated" if reason is StopReason.TOKEN_LIMIT else "unparseable"
        mass = 0.0 if last.reading is None else last.reading.mass
        return self.unscored(
            why,
            f"the verdict labels hold {mass:.2f} of the probability here, too little to read; "
            "allow more thought (effort=full, a larger max_thinking_tokens)",
        )

    def _written(self, replies: Sequence[ParsedVerdict], reason: StopReason) -> Verdict | Unscored:
        """The verdict that both orders' texts state."""
        found = sides(replies)
        if isinstance(found, Unread):
            return self.unscored(found.reason, found.detail)
        if found[0] * found[1] < 0:
            return self.unscored("order_conflict", "the orders' written verdicts contradict")
        preferred, sure = stated(found)
        return self._verdict(preferred, sure, sum(found) / len(found), found, None, reason)

    def _verdict(
        self,
        preferred: Preference,
        sure: float,
        margin: float,
        margins: tuple[float | None, float | None],
        scores: tuple[float, float] | None,
        reason: StopReason,
    ) -> Verdict:
        known = [margin for margin in margins if margin is not None]
        judge = self.judge
        searched = self.usage.searches and not getattr(self.policy, "searches", False)
        if reason in LATE or searched:
            judge = judge.model_copy(update={"certificate": None})
        return Verdict(
            version=SCHEMA,
            preferred=preferred,
            probability=sure,
            margin=margin,
            orders_read=len(known),
            agree=None if len(known) < len(margins) else known[0] * known[1] > 0,
            reason=reason,
            path=tuple(
                point
                for one in self.path
                if (point := checkpoint(one, self.calibration, self.policy)) is not None
            ),
            orders=tuple(map(self._order, ORDERS, margins)),
            scores=scores,
            usage=self.usage,
            judge=judge,
        )

    def _think(self, place: int) -> float | None:
        """What a hybrid's first token said in one order, whenever that was read."""
        readings = (readout.reading for readout in self.path)
        said = (reading.thinks[place] for reading in readings if reading is not None)
        return next((think for think in said if think is not None), None)

    def _order(self, order: Order, margin: float | None) -> OrderReading:
        chain = self.chains.by_order[order]
        return OrderReading(
            order=order,
            led=order == self.chains.lead,
            margin=margin,
            thinking_tokens=chain.thinking_tokens,
            forced=chain.forced,
            chain=chain.sequence.text if self.options.return_chain else None,
            think=self._think(ORDERS.index(order)),
        )


def looked_up(
    judge: Provenance, evidence: Evidence, options: JudgeOptions, searching: bool
) -> Provenance:
    """With what was searched, and what of it failed; or why what the caller brought was not read.

    searching: this judge can ask for a search.
    """
    records, unasked = evidence.records, []
    if options.evidence and not searching:
        unasked = [f"the evidence was not read: style {judge.style} cannot search here"]
    elif options.evidence and not records and options.effort != "none":
        unasked = ["the evidence was not read: the judge asked for nothing"]
    failed = [f"search failed ({one.query!r}): {one.failed}" for one in records if one.failed]
    lost = [f"what a search found could not be read: {why}" for why in evidence.unread]
    notes = (*judge.notes, *dict.fromkeys([*failed, *lost, *unasked]))
    return judge.model_copy(update={"searches": records, "notes": notes})


def checkpoint(
    readout: Readout, calibration: Calibration | None, policy: Rules | None
) -> Checkpoint | None:
    """A readout as it goes over the wire; None for verdicts that were written out."""
    reading, found = readout.reading, weighed(readout, calibration, policy)
    if reading is None or found is None:
        return None
    return Checkpoint(
        at=readout.at,
        thinking_tokens=readout.tokens,
        searches=readout.searches,
        margin=found.margin,
        margins=reading.margins,
        probability=0.5 if abs(found.margin) < TIE else found.probability,
        agree=reading.agree,
        mass=reading.mass,
    )


def weighed(
    readout: Readout, calibration: Calibration | None, policy: Rules | None
) -> Weighed | None:
    """What a readout comes to; None for verdicts that were written out."""
    if readout.reading is None:
        return None
    if calibration is None:
        margin = readout.reading.margin
        return Weighed(margin, uncalibrated(margin))
    return calibration.weigh(readout, policy)
