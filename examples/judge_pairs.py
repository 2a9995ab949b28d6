"""Judge a file on the bundled judge: `.venv/bin/python examples/judge_pairs.py`."""

import asyncio
import json
from pathlib import Path

from judges import JudgeOptions, PairwiseJudge, open_style
from judges.nano import WEIGHTS
from rrm import Pair, Verdict, open_engine


async def main() -> None:
    engine = open_engine(f"transformers:{WEIGHTS}")
    judge = PairwiseJudge(engine, open_style("rrm"), ladder=engine.card.ladder)
    lines = Path(__file__).with_name("pairs.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        row = json.loads(line)
        pair = Pair(
            prompt=row["prompt"], response_a=row["response_a"], response_b=row["response_b"]
        )
        outcome = await judge.judge(pair, JudgeOptions(max_thinking_tokens=64))
        if isinstance(outcome, Verdict):
            print(f"{outcome.preferred}  {outcome.probability:.2f}  {pair.prompt}")
        else:
            print(f"unscored: {outcome.detail}")
    engine.close()


asyncio.run(main())
