r"""RRM, Reward Reasoning Models (arXiv 2505.14674).

Pairwise, exactly two responses, no tie. A system turn with rules; a user turn with the headings
below; thought in `<think>`; the verdict is the last `\boxed{Assistant 1}` or
`\boxed{Assistant 2}` after it, in any case. Published decoding: temperature 0.6, top-p 1, 8,192
tokens. The instruction text is ours; the authors' own can be passed with `--prompt-file`.
"""

from judges.labels import LabelStyle
from judges.turns import Turns, prompt_file
from rrm.parse import BOXED
from rrm.style import Fence, Turn

_MARKERS = ("## Query", "## Assistant responses", "### Assistant 1", "### Assistant 2")

STYLE = LabelStyle(
    name="rrm",
    turns=Turns(
        (
            Turn(role="system", content=prompt_file("rrm.system.txt")),
            Turn(role="user", content=prompt_file("rrm.user.txt")),
        ),
        Fence((*_MARKERS, "## Analysis")),
    ),
    opening="<think>\n",
    stop="</think>",
    verdict_opening="\n\n\\boxed{Assistant ",
    first=("1",),
    second=("2",),
    verdict=BOXED,
    menu={"assistant 1": 0, "assistant 2": 1},
    thinks=None,
)
