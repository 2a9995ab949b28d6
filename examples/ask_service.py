"""Ask a running service: `.venv/bin/python examples/ask_service.py [URL]`."""

import sys

from judges import JudgeOptions
from rrm import Pair, Verdict
from serving import Client

with Client(sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:8000") as client:
    pair = Pair(
        prompt="What is 34 + 27 + 15?",
        response_a="The answer is 76.",
        response_b="It comes to 78.",
    )
    for effort in ("none", "adaptive", "full"):
        outcome = client.judge(pair, JudgeOptions(effort))
        assert isinstance(outcome, Verdict), outcome
        print(
            f"{effort:9} {outcome.preferred} at {outcome.probability:.2f}, "
            f"{outcome.usage.thinking_tokens} thinking tokens"
        )
