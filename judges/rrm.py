r"""RRM, Reward Reasoning Models (arXiv 2505.14674).

Pairwise, exactly two responses, no tie. A system turn with rules; a user turn with the headings
below; thought in `<think>`; the verdict is the last `\boxed{Assistant 1}` or
`\boxed{Assistant 2}` after it, in any case. Published decoding: temperature 0.6, top-p 1, 8,192
tokens. The instruction text is ours; the authors' own can be passed with `--prompt-file`.
"""

import re

from judges.labels import LabelStyle, prompt_file
from rrm.style import Fence

STYLE = LabelStyle(
    name="rrm",
    system=prompt_file("rrm.system.txt"),
    user=prompt_file("rrm.user.txt"),
    fence=Fence(
        ("## Query", "## Assistant responses", "### Assistant 1", "### Assistant 2", "## Analysis")
    ),
    opening="<think>\n",
    stop="</think>",
    verdict_opening="\n\n\\boxed{Assistant ",
    labels=("1", "2"),
    verdict=re.compile(r"\\boxed\s*\{([^{}]{0,200})\}"),
    menu=("assistant 1", "assistant 2"),
    thinks=None,
)
