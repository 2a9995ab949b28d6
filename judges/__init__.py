"""The judges: how a pair is judged, a response scored, a group ranked.

Public: PairwiseJudge, PointwiseJudge, JudgeOptions, Ranking, rank, open_style.
"""

from typing import TYPE_CHECKING

from rrm.lazy import lazily

if TYPE_CHECKING:
    from judges.options import JudgeOptions
    from judges.pairwise import PairwiseJudge
    from judges.pointwise import PointwiseJudge
    from judges.ranking import Ranking, rank
    from judges.styles.registry import open_style

__all__ = ["JudgeOptions", "PairwiseJudge", "PointwiseJudge", "Ranking", "open_style", "rank"]
DISTRIBUTION = "closecall"
"""marks this package as ours: another project on PyPI installs a `judges`"""
__getattr__ = lazily(
    __name__,
    {
        "JudgeOptions": "judges.options",
        "PairwiseJudge": "judges.pairwise",
        "PointwiseJudge": "judges.pointwise",
        "Ranking": "judges.ranking",
        "rank": "judges.ranking",
        "open_style": "judges.styles.registry",
    },
)
