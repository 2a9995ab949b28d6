"""RM-R1, Chain-of-Rubrics (arXiv 2505.02387). Two contracts by family; a mismatch fails loudly.

Distilled (`rm-r1`): one user message, thought in `<think>`, then `<answer>[[A]]</answer>`.
Instruct (`rm-r1-instruct`): system and user; tagged sections (type, rubric or solution, eval) in
place of `<think>`, then the same answer tag. Pairwise, no tie, greedy decoding. Instruction texts
are ours; the authors' own can be passed with `--prompt-file`.
"""

import re

from judges.labels import LabelStyle, close_sections
from judges.turns import Turns, prompt_file
from rrm.style import Fence, Turn

_FENCE = Fence(
    (
        "[Client Question]",
        "[The Start of Chatbot A's Response]",
        "[The End of Chatbot A's Response]",
        "[The Start of Chatbot B's Response]",
        "[The End of Chatbot B's Response]",
    )
)
_ANSWER = re.compile(r"<answer>\s*+\[\[([^\[\]]{0,200}+)\]\]\s*+</answer>")
_SECTIONS = (
    *("rubric", "justify", "solution", "eval"),
    *("quote_A", "quote_B", "summary_A", "summary_B"),
)


STYLE = LabelStyle(
    name="rm-r1",
    turns=Turns((Turn(role="user", content=prompt_file("rm-r1.user.txt")),), _FENCE),
    opening="<think>\n",
    stop="</think>",
    verdict_opening="\n\n<answer>[[",
    first=("A",),
    second=("B",),
    verdict=_ANSWER,
    menu={"a": 0, "b": 1},
)

INSTRUCT = LabelStyle(
    name="rm-r1-instruct",
    turns=Turns(
        (
            Turn(role="system", content=prompt_file("rm-r1-instruct.system.txt")),
            Turn(role="user", content=prompt_file("rm-r1-instruct.user.txt")),
        ),
        _FENCE,
    ),
    opening="",
    stop="</eval>",
    verdict_opening="\n\n<answer>[[",
    first=("A",),
    second=("B",),
    verdict=_ANSWER,
    menu={"a": 0, "b": 1},
    close=close_sections(_SECTIONS),
    thinks=False,
)
