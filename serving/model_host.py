"""The judges of one model: a style each, opened as they are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from judges.options import LADDER, JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.pointwise import PointwiseJudge
from judges.styles.label import LabelStyle
from judges.styles.registry import families, open_style, style_names
from judges.styles.score import ScoreStyle
from judges.styles.spec import StyleSpec
from rrm.allocation.cost_model import CostModel
from rrm.allocation.meter import Compute
from rrm.calibration.artifact import (
    ArtifactError,
    calibration_file,
    load_calibration,
    tuned_wordings,
)
from rrm.calibration.calibration import Calibration
from rrm.calibration.monitor import RiskMonitor
from rrm.engines import open_engine
from rrm.engines.base import Engine, EngineOptions
from rrm.engines.registry import engine_entry
from rrm.errors import EngineError, SearchError, StyleMismatch
from rrm.search.base import LIMITS
from rrm.search.registry import Searchers, open_searcher
from rrm.style import Style
from rrm.types import Candidates, Pair, Score, Unscored, Verdict
from serving.errors import SettingsError
from serving.preflight import check_settings, check_style, device_of, own_style, style_name
from serving.settings import NANO, Settings
from serving.weights import digest_of, digest_of_sizes, model_directory


def open_settings_engine(settings: Settings) -> Engine:
    """Load the model that the settings name. Raises SettingsError, with what to do."""
    check_settings(settings)
    key = settings.engine_key
    options = EngineOptions(
        device=device_of(settings),
        dtype=settings.dtype,
        threads=settings.threads or max(1, (os.cpu_count() or 1) // settings.replicas),
        base_url=settings.base_url,
        api_key=None if key is None else key.get_secret_value(),
        tensor_parallel=settings.tensor_parallel,
        memory_share=settings.memory_share,
        server_args=settings.server_args,
        logprobs=settings.logprobs,
        prefill=settings.prefill,
    )
    try:
        where = "" if settings.model == NANO else settings.model
        if engine_entry(settings.engine).capabilities.local_weights:
            where = str(model_directory(settings.model))
        return open_engine(f"{settings.engine}:{where}", options)
    except (OSError, ValueError, EngineError) as failure:
        raise SettingsError(str(failure)) from failure


def open_searchers(settings: Settings) -> Searchers:
    """What the settings name to search in. Raises SettingsError, with what to do."""
    given = dict(settings.searchers)
    default = None
    if settings.searcher is not None:  # perhaps by the name of one of them
        default = settings.searcher if settings.searcher in given else OWN_SEARCHER
        given.setdefault(default, settings.searcher)
    try:
        named = {name: open_searcher(spec) for name, spec in given.items()}
    except SearchError as failure:
        raise SettingsError(str(failure)) from None
    limits = replace(LIMITS, rounds=settings.max_searches, seconds=settings.search_seconds)
    return Searchers(named, default, limits)


def wordings_tuned(settings: Settings) -> Mapping[str, int]:
    """Of each style that was tuned for the model, the wording. Raises SettingsError."""
    if not engine_entry(settings.engine).capabilities.local_weights:
        return {}
    directory = model_directory(settings.model)
    try:
        return tuned_wordings(settings.thresholds or calibration_file(directory))
    except ArtifactError as failure:
        raise SettingsError(str(failure)) from None


OWN_SEARCHER = "default"
"""the name of the searcher that is not given one"""
FIRST_TOKENS = 16
"""thinking tokens of the pair that is judged before any other"""


class ModelHost:
    """Every judge that one engine can be.

    Raises SettingsError if the model does not load, StyleMismatch if it does not speak the
    settings' style.
    """

    def __init__(self, settings: Settings, audits: bool = False) -> None:
        """audits: watch a share of what is judged for drift, as a service does."""
        self.settings, self.audits = settings, audits
        self.engine = open_settings_engine(settings)
        self.own = own_style(settings)
        self.default = style_name(settings, self.engine.card)
        """the style of requests that name none"""
        self.ladder = settings.ladder or self.engine.card.ladder or LADDER
        self.searchers = open_searchers(settings)
        self._tuned = wordings_tuned(settings)
        self._pairwise: dict[str, PairwiseJudge] = {}
        self._pointwise: dict[str, PointwiseJudge] = {}
        self._fits(self.style(self.default))

    @property
    def local_weights(self) -> bool:
        """Whether the model's files lie on this machine."""
        return engine_entry(self.settings.engine).capabilities.local_weights

    def pairwise(self, style: str | None) -> PairwiseJudge:
        """The judge of pairs in `style`, or in the settings' style. Raises StyleMismatch."""
        name = style or self.default
        if name not in self._pairwise:
            spoken = self.style(name)
            calibration = self.calibration(spoken)
            self._pairwise[name] = PairwiseJudge(
                self.engine,
                spoken,
                calibration,
                self.ladder,
                self.temperature(spoken),
                self._monitor(calibration),
                self.searchers,
                self.wordings(spoken, calibration.wordings)
                if calibration is not None and calibration.wordings > 1
                else (),
            )
        return self._pairwise[name]

    def wordings(
        self, style: Style, count: int | None = None, files: Sequence[Path] = ()
    ) -> tuple[Style, ...]:
        """`style` in so many of its wordings, its own first; None: all. files: others' texts.

        Raises SettingsError where there are fewer.
        """
        spec = self.own if self.own is not None else families().get(style.name)
        most = spec.wordings_count if isinstance(spec, StyleSpec) and not files else 1
        if files and isinstance(style, LabelStyle | ScoreStyle):
            try:
                texts = [file.read_text(encoding="utf-8") for file in files]
                return (style, *(style.with_prompt(text) for text in texts))
            except (OSError, ValueError) as failure:
                raise SettingsError(f"a wording cannot be read: {failure}") from None
        wanted = most if count is None else count
        if not 1 < wanted <= most or not isinstance(spec, StyleSpec):
            raise SettingsError(
                f"style {style.name} has {most} wording{'s' if most > 1 else ''} here, and "
                f"{wanted} were asked for: give 2 or more that there are, or --wording FILE for "
                "another text"
            )
        return (style, *(spec.style(number) for number in range(1, wanted)))

    def _monitor(self, calibration: Calibration | None) -> RiskMonitor | None:
        if not self.audits or calibration is None or calibration.certificate is None:
            return None
        if calibration.expected is None or self.settings.audit_share == 0:
            return None
        share = self.settings.audit_share
        return RiskMonitor(calibration.expected, calibration.certificate.delta, share)

    def compute(self) -> Compute:
        """What the default style's judgements cost in operations.

        Raises SettingsError for a model that is not here.
        """
        if not self.local_weights:
            raise SettingsError("operations are counted from a model's config: it must be here")
        from rrm.engines.tokenizer import ChatTokenizer

        directory = model_directory(self.settings.model)
        suffix = self.style(self.default).suffix("", ended=False)
        return Compute(
            CostModel.of_directory(directory),
            len(ChatTokenizer(directory).encode(suffix)),
            self.settings.search_tokens,
        )

    def pointwise(self, style: str | None) -> PointwiseJudge:
        """The judge of single responses. Raises StyleMismatch."""
        scoring = 1 in self.style(self.default).sizes
        name = style or (self.default if scoring else "grm")
        if name not in self._pointwise:  # its temperature may stand in a calibration's file
            spoken = self.style(name)
            self._pointwise[name] = PointwiseJudge(
                self.engine, spoken, self.ladder, self.temperature(spoken), self.searchers
            )
        return self._pointwise[name]

    def style(self, name: str) -> Style:
        """Raises StyleMismatch for a style that is unknown or that this model was not made for."""
        if self.own is not None and name == self.own.name:
            own, tuned = self.own, self._tuned.get(name, 0)
            return own.style(tuned) if isinstance(own, StyleSpec) else own.style()
        style = check_style(self.engine.card, name)
        if (wording := self._tuned.get(name)) and self.settings.prompt_file is None:
            return open_style(name, wording)
        if self.settings.prompt_file is None or name != self.default:
            return style
        if not isinstance(style, LabelStyle | ScoreStyle):
            raise StyleMismatch(f"style {name} takes no prompt file")
        try:
            return style.with_prompt(self.settings.prompt_file.read_text(encoding="utf-8"))
        except ValueError as failure:
            raise SettingsError(str(failure)) from None

    def names(self) -> tuple[str, ...]:
        """The styles that fit this model."""
        own = (self.own.name,) if self.own else ()
        fitting = []
        for name in dict.fromkeys((*own, *(self.engine.card.styles or style_names()))):
            try:
                self._fits(self.style(name))
            except StyleMismatch:
                continue
            fitting.append(name)
        return tuple(fitting)

    async def judge_once(self) -> None:
        """Judge one pair in the default style, as a request does, with a little thought.

        Raises EngineError, StyleMismatch or whatever else would keep requests from being judged; a
        judge that says nothing readable about this pair is another matter.
        """
        card, style = self.engine.card, self.style(self.default)
        first, second = ("4", "5") if card.reads is None else (*card.reads.words, "1", "2")[:2]
        prompt = "What is 2 + 2?" if card.reads is None else first
        options = JudgeOptions(
            max_thinking_tokens=FIRST_TOKENS,
            seconds=self.settings.request_timeout,
            evidence=(),
        )
        outcome: Verdict | Score | Unscored
        if 2 in style.sizes:
            pair = Pair(prompt=prompt, response_a=first, response_b=second)
            outcome = await self.pairwise(None).judge(pair, options)
        else:
            candidates = Candidates(prompt=prompt, responses=(first,))
            outcome = await self.pointwise(None).score(candidates, options)
        if isinstance(outcome, Unscored) and outcome.reason in ("engine_error", "deadline"):
            raise EngineError(f"the first pair could not be judged: {outcome.detail}")

    def close(self) -> None:
        self.engine.close()

    def _fits(self, style: Style) -> None:
        """Raises StyleMismatch if the model is of another family than the style."""
        if self.engine.control:
            style.check(self.engine.control)

    def temperature(self, style: Style) -> float:
        """At which chains are decoded.

        As the settings say, else as `style` was calibrated for this model, else as its authors do.
        """
        if self.settings.temperature is not None:
            return self.settings.temperature
        fitted = self._fitted(style)
        return style.temperature if fitted is None else fitted.temperature

    def calibration(self, style: Style) -> Calibration | None:
        """The thresholds for `style`, if there are any that fit.

        They belong to the weights, the prompt, the ladder and the decoding they were fitted on.
        """
        found = self._fitted(style)
        if found is None:
            return None
        decoding = self.ladder, self.temperature(style)
        return found if (found.ladder, found.temperature) == decoding else None

    def _fitted(self, style: Style) -> Calibration | None:
        """What was fitted to these weights and this prompt. Raises SettingsError."""
        if not self.local_weights:
            return None
        directory = model_directory(self.settings.model)
        file = self.settings.thresholds or calibration_file(directory)
        if not file.is_file():
            return None
        try:
            found = load_calibration(file, style.name, style.prompt_hash, digest_of(directory))
        except ArtifactError as failure:
            raise SettingsError(str(failure)) from None
        sizes = digest_of_sizes(directory)
        if found is None and sizes and load_calibration(file, style.name, style.prompt_hash, sizes):
            raise SettingsError(
                f"{file} is bound to the sizes of the weights alone, which another fine-tune has "
                "too. Fit it again: closecall calibrate --data LABELLED.jsonl --model "
                f"{self.settings.model} --style {style.name} --out {file}"
            )
        return found
