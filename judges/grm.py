r"""DeepSeek-GRM (arXiv 2504.02495): criteria, an analysis, then a whole-number score for each.

One user message. The reply names its own criteria, analyses, and ends with
`Scores: \boxed{x1, …, xn}`, integers 1 to 10 in input order. Any number of responses, one
included. Published decoding: k samples at temperature 0.5. A score is read by probe as its
expectation over 1 to 10; the pairwise margin is the difference of the two expectations. Ties are
common. The instruction text is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from judges.labels import SLOTS, prompt_file
from rrm.parse import Reading, Unread, after_thought, last_boxed_scores
from rrm.style import Ask, Fence, LabelLogprobs, ProbeReading, Rendered, fill, hash_prompt
from rrm.types import Message

LOW, HIGH = 1, 10
LABELS = tuple(str(score) for score in range(LOW, HIGH + 1))
LIKELY = 0.05
"""scores less likely than this do not get their own question about the scores after them"""
STAND_IN = "Specific Criteria: the more correct, the better.\nAnalysis: "
"""the criteria of a chain that is closed before it has any"""
SCORES = "\nScores: \\boxed{"
MOST = 16
"""responses in one question"""


@dataclass(frozen=True)
class ScoreStyle:
    """Pointwise or pairwise: each response gets a score from 1 to 10."""

    name: str
    user: str
    response: str
    fence: Fence
    opening: str = ""
    stop: str = "\\boxed{"
    sizes: tuple[int, ...] = tuple(range(1, MOST + 1))

    @property
    def prompt_hash(self) -> str:
        return hash_prompt(self.name, self.user, self.response, self.opening, self.stop)

    def with_prompt(self, text: str) -> ScoreStyle:
        """The style with another user turn. Raises ValueError unless it holds {prompt} and
        {responses}."""
        missing = [slot for slot in ("{prompt}", "{responses}") if slot not in text]
        if missing:
            raise ValueError(f"prompt file for {self.name}: lacks {missing} (not {SLOTS[1:]})")
        return replace(self, user=text.rstrip("\n"))

    def render(
        self, prompt: str, responses: Sequence[str], control: Iterable[str] = ()
    ) -> Rendered:
        words = tuple(control)
        question, changed = self.fence.defang(prompt, words)
        blocks: list[str] = []
        for number, response in enumerate(responses, start=1):
            clean, found = self.fence.defang(response, words)
            changed += found
            blocks.append(fill(self.response, {"number": str(number), "response": clean}))
        text = fill(self.user, {"prompt": question, "responses": "\n".join(blocks)})
        return Rendered((Message(role="user", content=text),), self.opening, changed)

    def suffix(self, chain: str, ended: bool) -> str:
        if ended:
            return ""
        if not chain.strip():
            return STAND_IN + SCORES
        return SCORES if "Analysis:" in chain else "\nAnalysis: " + SCORES

    async def read(self, ask: Ask, suffix: str, n: int) -> ProbeReading:
        """E[x1] at the box, then each next score over the likely values of those before it."""
        weights = {suffix: 1.0}
        scores: list[float] = []
        mass, spread = 1.0, 0.0
        for index in range(n):
            seen = await ask(list(weights), LABELS)
            mass = min(mass, *(one.mass for one in seen))
            means = [_expectation(one) for one in seen]
            shares = list(weights.values())
            scores.append(sum(w * mean for w, (mean, _) in zip(shares, means, strict=True)))
            if index == 0:
                spread = means[0][1]
            longer = {
                f"{text}{label}, ": weight * share
                for (text, weight), one in zip(weights.items(), seen, strict=True)
                for label, share in _shares(one).items()
            }
            weights = _likely(longer)
        z = scores[0] - scores[1] if n == 2 else scores[0]
        return ProbeReading(z=z, mass=mass, scores=tuple(scores), spread=spread)

    def parse(self, text: str, n: int) -> Reading:
        rest = after_thought(text)
        return rest if isinstance(rest, Unread) else last_boxed_scores(rest, n, LOW, HIGH)

    def check(self, special: Iterable[str]) -> None:
        return None


def _shares(seen: LabelLogprobs) -> dict[str, float]:
    top = max(seen.logprobs.values())
    if math.isinf(top):
        return {label: 1 / len(LABELS) for label in LABELS}
    weights = {label: math.exp(value - top) for label, value in seen.logprobs.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


def _likely(weights: dict[str, float]) -> dict[str, float]:
    """Those at least LIKELY, or else the likeliest, their weights summing to 1."""
    kept = {text: weight for text, weight in weights.items() if weight >= LIKELY}
    kept = kept or dict([max(weights.items(), key=lambda item: item[1])])
    total = sum(kept.values())
    return {text: weight / total for text, weight in kept.items()}


def _expectation(seen: LabelLogprobs) -> tuple[float, float]:
    """Mean and standard deviation of the score."""
    shares = {int(label): share for label, share in _shares(seen).items()}
    mean = sum(score * share for score, share in shares.items())
    return mean, math.sqrt(sum(share * (score - mean) ** 2 for score, share in shares.items()))


STYLE = ScoreStyle(
    name="grm",
    user=prompt_file("grm.user.txt"),
    response=prompt_file("grm.response.txt"),
    fence=Fence(
        (
            "#### Evaluation Criteria ####",
            "#### Conversation Context ####",
            "#### Responses to be Scored ####",
            "#### Output Format Requirements ####",
            "[The Begin of Response",
            "[The End of Response",
        )
    ),
)
