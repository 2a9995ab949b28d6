"""RM-R1, Chain-of-Rubrics (arXiv 2505.02387). Two contracts by family; a mismatch fails loudly.

Distilled (`rm-r1`): one user message, thought in `<think>`, then `<answer>[[A]]</answer>`.
Instruct (`rm-r1-instruct`): system and user; tagged sections (type, rubric or solution, eval) in
place of `<think>`, then the same answer tag. Pairwise, no tie, greedy decoding. Instruction texts
are ours; the authors' own can be passed with `--prompt-file`.
"""

import re

from judges.labels import LabelStyle, prompt_file
from rrm.style import Fence

_MARKERS = (
    "[Client Question]",
    "[The Start of Chatbot A's Response]",
    "[The End of Chatbot A's Response]",
    "[The Start of Chatbot B's Response]",
    "[The End of Chatbot B's Response]",
)
_ANSWER = re.compile(r"<answer>\s*\[\[([^\[\]]{0,200})\]\]\s*</answer>")
_SECTION = re.compile(r"<(/?)(rubric|justify|solution|eval|quote_A|quote_B|summary_A|summary_B)>")


def close_sections(chain: str) -> str:
    """Close every section that `chain` has left open, innermost first."""
    still_open: list[str] = []
    for match in _SECTION.finditer(chain):
        if not match[1]:
            still_open.append(match[2])
        elif match[2] in still_open:
            still_open.remove(match[2])
    return "".join(f"\n</{tag}>" for tag in reversed(still_open))


STYLE = LabelStyle(
    name="rm-r1",
    system=None,
    user=prompt_file("rm-r1.user.txt"),
    fence=Fence(_MARKERS),
    opening="<think>\n",
    stop="</think>",
    verdict_opening="\n\n<answer>[[",
    labels=("A", "B"),
    verdict=_ANSWER,
    menu=("a", "b"),
)

INSTRUCT = LabelStyle(
    name="rm-r1-instruct",
    system=prompt_file("rm-r1-instruct.system.txt"),
    user=prompt_file("rm-r1-instruct.user.txt"),
    fence=Fence(_MARKERS),
    opening="",
    stop="</eval>",
    verdict_opening="\n\n<answer>[[",
    labels=("A", "B"),
    verdict=_ANSWER,
    menu=("a", "b"),
    close=close_sections,
    thinks=False,
)
