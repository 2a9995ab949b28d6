"""What a family's file cannot say as data: texts that are computed from the chain, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

STAND_IN = "Specific Criteria: the more correct, the better.\nAnalysis: "
"""the criteria of a GRM chain that is closed before it has any"""
SCORES = "\nScores: \\boxed{"


def grm_suffix(chain: str, ended: bool) -> str:
    """DeepSeek-GRM (arXiv 2504.02495): a chain has criteria, then an analysis, then the scores."""
    if ended:
        return ""
    if not chain.strip():
        return STAND_IN + SCORES
    return SCORES if "Analysis:" in chain else "\nAnalysis: " + SCORES


SUFFIXES: Mapping[str, Callable[[str, bool], str]] = {"grm": grm_suffix}
"""(chain, ended) to what must be appended so that the first score comes next"""
