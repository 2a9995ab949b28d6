"""Rank responses by comparing pairs: `.venv/bin/python examples/rank_responses.py`."""

import asyncio

from judges import PairwiseJudge, open_style, rank
from judges.nano import WEIGHTS
from rrm import open_engine

RESPONSES = ("It is 623.", "It is 613.", "It is 600.", "It is 20.")


async def main() -> None:
    engine = open_engine(f"transformers:{WEIGHTS}")
    judge = PairwiseJudge(engine, open_style("rm-r1"), ladder=engine.card.ladder)
    ranking = await rank(judge, "What is 345 + 278?", RESPONSES)
    order = sorted(zip(ranking.strengths, RESPONSES, strict=True), key=lambda one: -(one[0] or 0))
    for strength, response in order:
        print(f"{strength:+.2f}  {response}")
    engine.close()


asyncio.run(main())
