"""What calibrating found, as people read it in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from rich.console import Console
from rich.table import Table as RichTable

from rrm.calibration import FEWEST, shortfall
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.calibration import Calibration, PositionBias, contradict
from rrm.calibration.gain import ThinkingGain
from rrm.calibration.replay import Walked, replay, whole
from rrm.calibration.sensitivity import Confidence, Sensitivity, blind, confidence_by_depth
from rrm.calibration.trace import Trace
from rrm.decision.priced import Depth, PricedPolicy, TokenPrices


def tell(
    console: Console,
    traces: Sequence[Trace],
    ladder: Sequence[int],
    calibration: Calibration,
    epsilon: float,
    delta: float,
) -> None:
    """Whether thought helps, and what the half that certified the calibration says of it."""
    if calibration.productivity is not None:
        console.print(productivity_table(calibration.productivity))
        console.print(calibration.productivity.finding, soft_wrap=True)
    console.print(bias_table(calibration.position_bias))
    if not any(one.own for one in traces):
        confidence = confidence_by_depth(traces, ladder)
        console.print(confidence_table(confidence))
        if said := blind(confidence):
            console.print(said, style="yellow", soft_wrap=True)
    if calibration.wordings > 1:
        console.print(sensitivity_table(Sensitivity.of(traces)))
    if len(traces) < FEWEST:
        why = shortfall(len(traces), epsilon, delta)
        console.print(f"too few for thresholds: {why}", style="yellow", soft_wrap=True)
        return
    held = TraceArrays.of(traces[1::2], ladder)
    full, found = whole(held), replay(held, calibration.policy)
    tokens, all_tokens = found.spent.thought, full.spent.thought
    console.print(
        f"{len(held)} pairs that it was not fitted on: right {found.right.mean():.4f} "
        f"(whole chains {full.right.mean():.4f}), {tokens.mean():.1f} thinking tokens a "
        f"pair of {all_tokens.mean():.1f} ({tokens.sum() / max(1, all_tokens.sum()):.1%}); "
        f"{found.orders.mean():.2f} orders read of 2"
    )
    split = contradicting(held, calibration.conflict)
    console.print(
        f"whole chains contradict each other within what order alone explains in {split:.1%} of "
        "the pairs; those are unscored (order_conflict)",
        soft_wrap=True,
    )
    certificate, policy = calibration.certificate, calibration.policy
    if certificate is None or policy is None:
        why = shortfall(len(traces), epsilon, delta)
        console.print(f"no certificate, so whole chains are thought: {why}", style="yellow")
        return
    where = f"; it reads {where_read(found)}" if isinstance(policy, PricedPolicy) else ""
    console.print(
        f"certified: at most {certificate.epsilon:g} of {certificate.promises} lost, with "
        f"probability {1 - certificate.delta:g} (lost {certificate.lost}, gained "
        f"{certificate.gained} of {certificate.n}); {price_of(calibration.token_prices)}{where}",
        soft_wrap=True,
    )


def contradicting(arrays: TraceArrays, conflict: float) -> float:
    """Share of the traces whose whole chains contradict each other and say nothing."""
    ends = zip(arrays.lead[:, -1].tolist(), arrays.other_end.tolist(), strict=True)
    return fmean(contradict(one, conflict) for one in ends)


def where_read(found: Walked) -> str:
    """The depths at which a policy reads one pair of a hundred or more."""
    came: Counter[Depth] = Counter()
    for key, some in found.came.items():
        came[key.depth] += int(some.sum())
    often = [depth for depth, n in came.items() if n >= 0.01 * len(found.arrays)]
    rungs = sorted(depth for depth in often if isinstance(depth, int))
    ladder = (0, *found.arrays.ladder)
    depths = ["the prompt" if rung == 0 else f"{ladder[rung]} tokens" for rung in rungs]
    asks = ["where it asks for a search"] if "query" in often else []
    return ", ".join([*depths, *asks, "the end of the leading chain"])


def price_of(prices: TokenPrices | None) -> str:
    """What a token was taken to cost, in words."""
    if prices is None:
        return "no price of a token is known"
    return (
        f"priced by {prices.kind}: a token read costs {prices.read:.2g} of a generated one, "
        f"from a cache {prices.cached:.2g}; a cache holds {prices.known:.0%} of the first prompt "
        f"and {prices.shared:.0%} of the other"
    )


def bias_table(biases: Sequence[PositionBias]) -> RichTable:
    """What the order of the responses alone does, by depth of both chains."""
    table = RichTable(box=None, pad_edge=False)
    heads = ("each chain", "liking for the first place", "spread", "one order decides otherwise")
    for head in heads:
        table.add_column(head, justify="left" if head == "each chain" else "right")
    for bias in biases:
        depth = "whole" if bias.thinking_tokens is None else f"{bias.thinking_tokens} tokens"
        table.add_row(depth, f"{bias.mean:+.2f}", f"{bias.spread:.2f}", f"{bias.otherwise:.1%}")
    return table


def productivity_table(report: ThinkingGain) -> RichTable:
    """What thought brought at each checkpoint, and in each group."""
    table = RichTable(box=None, pad_edge=False)
    for head in ("chains", "thinking tokens", "gain in accuracy", "95 % interval"):
        table.add_column(head, justify="left" if head == "chains" else "right")
    rows = [("cut at a checkpoint", gain) for gain in report.by_checkpoint]
    rows += [("whole", report.whole)]
    rows += [(f"whole, {name}", gain) for name, gain in report.groups.items()]
    for name, gain in rows:
        interval = f"{gain.low:+.3f} to {gain.high:+.3f}"
        table.add_row(name, f"{gain.thinking_tokens:.0f}", f"{gain.value:+.3f}", interval)
    return table


def confidence_table(found: Sequence[Confidence]) -> RichTable:
    """Whether |margin| tells right verdicts from wrong ones, by depth."""
    table = RichTable(box=None, pad_edge=False)
    for head in ("each chain", "right", "AUROC of |margin|", "95 % interval"):
        table.add_column(head, justify="left" if head == "each chain" else "right")
    for one in found:
        depth = "whole" if one.thinking_tokens is None else f"{one.thinking_tokens} tokens"
        area = ("", "") if one.auroc is None else (f"{one.auroc[0]:.3f}", _between(one.auroc))
        table.add_row(depth, f"{one.right:.3f}", *area)
    return table


def sensitivity_table(found: Sensitivity) -> RichTable:
    """What changes with the wording."""
    table = RichTable(box=None, pad_edge=False)
    heads = (f"{found.wordings} wordings in both orders, {found.pairs} pairs", "value", "95 %")
    for head in heads:
        table.add_column(head, justify="left" if head == heads[0] else "right")
    rows = (
        ("sensitivity without thought", found.unthought),
        ("  its rank correlation with |margin| there", found.correlation_unthought),
        ("sensitivity of whole chains", found.whole),
        ("  its rank correlation with |margin| without thought", found.correlation),
    )
    for name, value in rows:
        told = ("", "") if value is None else (f"{value[0]:+.3f}", _between(value))
        table.add_row(name, *told)
    return table


def _between(value: tuple[float, float, float]) -> str:
    return f"{value[1]:.3f} to {value[2]:.3f}"
