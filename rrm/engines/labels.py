"""Labels of any number of tokens, put to a model that reads token ids."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rrm.style import LabelLogprobs

TokenPath = tuple[int, ...]


@dataclass(frozen=True)
class LabelPlan:
    """How a question about labels is put to a model that reads token ids.

    forced: ids that every label shares, to be appended to the sequence. paths: each label's own ids
    after them. nodes: the id prefixes (the empty one first) after which next-token
    log-probabilities are needed. Most labels are one token, and the empty prefix is the only node.
    """

    forced: tuple[int, ...]
    paths: Mapping[str, TokenPath]
    nodes: tuple[TokenPath, ...]

    def combine(self, after: Mapping[TokenPath, Callable[[int], float]]) -> LabelLogprobs:
        """Log-probability of each label, given next-token log-probabilities after each node.

        A label that begins another ("1" and "10") counts only where the other does not follow.
        """
        found: dict[str, float] = {}
        for label, path in self.paths.items():
            total = sum(after[path[:depth]](path[depth]) for depth in range(len(path)))
            longer = {
                other[len(path)]
                for other in self.paths.values()
                if len(other) > len(path) and other[: len(path)] == path
            }
            if longer:
                rest = 1.0 - sum(math.exp(after[path](token)) for token in longer)
                total += math.log(rest) if rest > 0 else -math.inf
            found[label] = total
        return LabelLogprobs(found)


def plan_labels(
    encode: Callable[[str], list[int]], suffix: str, labels: Sequence[str]
) -> LabelPlan:
    """Tokenise `suffix` with each label. Raises ValueError if two labels have the same ids."""
    whole = {label: tuple(encode(suffix + label)) for label in labels}
    if len(set(whole.values())) < len(labels):
        raise ValueError(f"this tokenizer cannot tell the labels {labels} apart")
    shared = min(len(ids) for ids in whole.values()) - 1
    first = next(iter(whole.values()))
    common = next(
        (k for k in range(shared) if any(ids[k] != first[k] for ids in whole.values())), shared
    )
    paths = {label: ids[common:] for label, ids in whole.items()}
    nodes: dict[TokenPath, None] = {(): None}
    for path in paths.values():
        for depth in range(1, len(path)):
            nodes[path[:depth]] = None
        if any(len(other) > len(path) and other[: len(path)] == path for other in paths.values()):
            nodes[path] = None
    return LabelPlan(tuple(first[:common]), paths, tuple(nodes))
