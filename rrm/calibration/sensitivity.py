"""How much a verdict hangs on the wording of the question, and whether confidence tells.

ProSA (Zhuo et al., arXiv 2410.12405): the sensitivity of one instance is the mean difference of
what two prompts get, over all pairs of prompts; the PromptSensiScore is its mean over instances.
The prompts are a style's wordings in both orders; what they get is whether the verdict is the
label's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from rrm.calibration.gain import Z95
from rrm.calibration.trace import Trace
from rrm.types import Frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

BLIND = 0.6
"""a judge whose confidence has a lower AUROC does not know when it is wrong"""
UNKNOWING = "this judge's confidence does not know when it is wrong"


def instance_sensitivity(values: Numbers) -> Numbers:
    """[instances]: the mean |difference| of two prompts. values: [instances, prompts], 0 to 1.

    Raises ValueError for fewer than two prompts.
    """
    import numpy as np

    prompts = values.shape[1]
    if prompts < 2:
        raise ValueError("one prompt has nothing to differ from; give two or more")
    ranked = np.sort(values, axis=1)
    # Of sorted values the k-th counts k times less the times that it is subtracted.
    weights = 2 * np.arange(prompts) - (prompts - 1)
    found: Numbers = ranked @ weights / (prompts * (prompts - 1) / 2)
    return found


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Confidence(Frozen):
    """Whether |margin| tells right verdicts from wrong ones, at one depth."""

    thinking_tokens: int | None = Field(description="of each chain; none: whole")
    right: float = Field(description="share of verdicts that are")
    auroc: tuple[float, float, float] | None = Field(
        description="with its 95 % interval; null where all verdicts are right, or all wrong"
    )

    @property
    def knows(self) -> bool:
        """False where it is known not to."""
        return self.auroc is None or self.auroc[0] >= BLIND


class Sensitivity(Frozen):
    """What changes with the wording."""

    wordings: int
    pairs: int
    unthought: tuple[float, float, float] = Field(
        description="PromptSensiScore of verdicts without thought, with its 95 % interval"
    )
    whole: tuple[float, float, float] = Field(description="the same of whole chains")
    correlation: tuple[float, float, float] | None = Field(
        description="Spearman's, of |margin| without thought with the sensitivity of whole chains"
    )
    correlation_unthought: tuple[float, float, float] | None = Field(
        description="the same with the sensitivity of verdicts without thought"
    )

    @classmethod
    def of(cls, traces: Sequence[Trace]) -> Sensitivity:
        """From traces whose votes are wordings. Raises ValueError for one wording or no trace."""
        import numpy as np

        if not traces:
            raise ValueError("no traces")
        first, last = (instance_sensitivity(verdicts(traces, place)) for place in (0, -1))
        margin = np.array([abs(_margin(one, 0)) for one in traces])
        return cls(
            wordings=len(traces[0].votes),
            pairs=len(traces),
            unthought=mean_of(first),
            whole=mean_of(last),
            correlation=rank_correlation(margin, last),
            correlation_unthought=rank_correlation(margin, first),
        )


def verdicts(traces: Sequence[Trace], place: int) -> Numbers:
    """[pairs, wordings x orders]: 1 where the verdict at this place of its chain is the label."""
    import numpy as np

    return np.array(
        [
            [float(one.right(chain.margins[place])) for pair in one.votes for chain in pair]
            for one in traces
        ]
    )


def _margin(trace: Trace, place: int) -> float:
    """Of the first wording, both orders."""
    return sum(chain.margins[place] for chain in trace.votes[0]) / 2


def mean_of(values: Numbers) -> Estimate:
    """The mean, with its normal interval."""
    import numpy as np

    mean, half = float(values.mean()), Z95 * float(values.std()) / np.sqrt(len(values))
    return Estimate(mean, max(0.0, mean - float(half)), mean + float(half))


def rank_correlation(x: Numbers, y: Numbers) -> Estimate | None:
    """Spearman's rho; its interval by Fisher's z with the variance of Bonett and Wright (2000).

    None where one of them never changes, or for fewer than 5.
    """
    import numpy as np
    from scipy.stats import rankdata

    if len(x) < 5 or x.std() == 0 or y.std() == 0:
        return None
    rho = float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
    held = min(max(rho, -0.999999), 0.999999)
    half = Z95 * np.sqrt((1 + held**2 / 2) / (len(x) - 3))
    low, high = np.tanh(np.arctanh(held) - half), np.tanh(np.arctanh(held) + half)
    return Estimate(rho, float(low), float(high))


def auroc(sizes: Numbers, rights: Numbers) -> Estimate | None:
    """That a right verdict has the wider margin than a wrong one (Mann and Whitney 1947).

    The interval is Hanley and McNeil's (Radiology 1982). None without both kinds.
    """
    import numpy as np
    from scipy.stats import rankdata

    good, bad = int(rights.sum()), int((1 - rights).sum())
    if not good or not bad:
        return None
    ranks = rankdata(sizes)
    area = float((ranks[rights > 0].sum() - good * (good + 1) / 2) / (good * bad))
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (good - 1) * (one - area**2) + (bad - 1) * (two - area**2)) / (
        good * bad
    )
    half = Z95 * float(np.sqrt(max(0.0, variance)))
    return Estimate(area, max(0.0, area - half), min(1.0, area + half))


def confidence_by_depth(traces: Sequence[Trace], ladder: Sequence[int]) -> list[Confidence]:
    """Both orders as deep as each other, the prompt first, whole chains last.

    Labels are needed: a judge that is held against itself cannot be seen to be wrong.
    """
    import numpy as np

    found = []
    for tokens in (0, *ladder[:-1], None):
        depth = ladder[-1] if tokens is None else tokens
        margins = np.array([one.in_step(depth).margin for one in traces])
        rights = np.array(
            [float(one.right(margin)) for one, margin in zip(traces, margins, strict=True)]
        )
        found.append(
            Confidence(
                thinking_tokens=tokens,
                right=float(rights.mean()),
                auroc=auroc(np.abs(margins), rights),
            )
        )
    return found


def blind(found: Sequence[Confidence]) -> str | None:
    """The sentence, where it is due: at which depths confidence says nothing."""
    depths = [
        "whole chains" if one.thinking_tokens is None else f"{one.thinking_tokens} tokens"
        for one in found
        if not one.knows
    ]
    return f"{UNKNOWING} ({', '.join(depths)}: AUROC under {BLIND})" if depths else None
