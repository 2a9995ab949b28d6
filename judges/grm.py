r"""DeepSeek-GRM (arXiv 2504.02495): criteria, an analysis, then a whole-number score for each.

One user message. The reply names its own criteria, analyses, and ends with
`Scores: \boxed{x1, …, xn}`, integers 1 to 10 in input order. Any number of responses, one
included. Published decoding: k samples at temperature 0.5. A score is read by probe as its
expectation over 1 to 10; the pairwise margin is the difference of the two expectations. Ties are
common. The instruction text is ours.
"""

from judges.scores import ScoreStyle
from judges.turns import Turns, prompt_file
from rrm.style import Fence, Turn

STAND_IN = "Specific Criteria: the more correct, the better.\nAnalysis: "
"""the criteria of a chain that is closed before it has any"""
SCORES = "\nScores: \\boxed{"
MOST = 16
"""responses in one question"""


def suffix(chain: str, ended: bool) -> str:
    if ended:
        return ""
    if not chain.strip():
        return STAND_IN + SCORES
    return SCORES if "Analysis:" in chain else "\nAnalysis: " + SCORES


STYLE = ScoreStyle(
    name="grm",
    turns=Turns(
        (Turn(role="user", content=prompt_file("grm.user.txt")),),
        Fence(
            (
                "#### Evaluation Criteria ####",
                "#### Conversation Context ####",
                "#### Responses to be Scored ####",
                "#### Output Format Requirements ####",
                "[The Begin of Response",
                "[The End of Response",
            )
        ),
        response=prompt_file("grm.response.txt"),
    ),
    low=1,
    high=10,
    sizes=tuple(range(1, MOST + 1)),
    suffix_of=suffix,
)
LABELS = STYLE.labels
