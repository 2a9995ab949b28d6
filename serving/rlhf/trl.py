"""A reward for TRL's GRPO (1.16): a whole group of completions is compared at once.

trainer = GRPOTrainer(model, reward_funcs=CloseCallReward("http://127.0.0.1:8000"), ...)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from judges.options import JudgeOptions
from judges.ranking import PairJudge, Ranking, rank
from rrm.types import Effort, Message, Prompt
from serving.client import AsyncClient
from serving.errors import ServiceError

Text = str | Sequence[Mapping[str, Any]]
"""as TRL passes prompts and completions: text, or messages of a conversational dataset"""


class CloseCallReward:
    """An async `reward_funcs` callable.

    Rewards are centred Bradley-Terry strengths within the group of completions of one prompt; None
    for one that could not be judged.

    judge: a service's URL, or a judge in this process. seconds: for one call; TRL itself would wait
    for ever, so a group that is not compared by then is unscored whole. client: options of
    `AsyncClient`.
    """

    def __init__(
        self,
        judge: str | PairJudge,
        *,
        effort: Effort = "adaptive",
        max_thinking_tokens: int | None = None,
        seconds: float = 300.0,
        **client: Any,
    ) -> None:
        self._judge, self._client, self._seconds = judge, client, seconds
        self._options = JudgeOptions(effort, max_thinking_tokens)
        self.__name__ = "closecall"

    async def __call__(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward a completion, in order. Groups are runs of the same prompt."""
        texts = [_completion(completion) for completion in completions]
        groups = [
            (prompt, [texts[index] for index, _ in run])
            for prompt, run in groupby(enumerate(map(_prompt, prompts)), key=lambda item: item[1])
        ]
        if isinstance(self._judge, str):
            options = {"timeout": self._seconds, "patience": self._seconds, **self._client}
            async with AsyncClient(self._judge, **options) as client:
                rankings = await self._rank_all(client, groups)
        else:
            rankings = await self._rank_all(self._judge, groups)
        if log_metric is not None:
            self._log(log_metric, rankings)
        return [strength for ranking in rankings for strength in ranking.strengths]

    async def _rank_all(
        self, judge: PairJudge, groups: Sequence[tuple[Prompt, list[str]]]
    ) -> list[Ranking]:
        return await asyncio.gather(*(self._rank(judge, *group) for group in groups))

    async def _rank(self, judge: PairJudge, prompt: Prompt, responses: list[str]) -> Ranking:
        """A group that cannot be judged in time, or at all, is unscored whole."""
        try:
            async with asyncio.timeout(self._seconds):
                return await rank(judge, prompt, responses, self._options)
        except (ServiceError, TimeoutError) as failure:
            why = f"{type(failure).__name__}: {failure}"
            return Ranking((None,) * len(responses), 0, 0, (why,))

    def _log(self, log_metric: Callable[[str, float], None], rankings: list[Ranking]) -> None:
        strengths = [value for ranking in rankings for value in ranking.strengths]
        pairs = sum(ranking.pairs for ranking in rankings)
        tokens = sum(ranking.thinking_tokens for ranking in rankings)
        log_metric("closecall/unscored", strengths.count(None) / max(1, len(strengths)))
        log_metric("closecall/failed_pairs", float(sum(len(r.failures) for r in rankings)))
        log_metric("closecall/thinking_tokens_per_pair", tokens / max(1, pairs))


def _prompt(prompt: Text) -> Prompt:
    if isinstance(prompt, str):
        return prompt
    return tuple(Message(role=turn["role"], content=turn["content"]) for turn in prompt)


def _completion(completion: Text) -> str:
    if isinstance(completion, str):
        return completion.strip()
    return str(completion[-1]["content"]).strip() if completion else ""
