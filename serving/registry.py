"""The judges of one model: a style each, opened as they are asked for."""

from __future__ import annotations

import os
from pathlib import Path

from judges.grm import ScoreStyle
from judges.labels import LabelStyle
from judges.nano import WEIGHTS
from judges.pairwise import LADDER, PairwiseJudge
from judges.pointwise import PointwiseJudge
from rrm.engine import Engine, ScriptedEngine, open_engine
from rrm.stopping import Stopper, load_stopper
from rrm.style import Style, StyleMismatch, open_style, style_names
from serving.settings import NANO, Settings, SettingsError


def model_directory(model: str) -> Path:
    """Where the weights of `model` lie: the bundled ones, a directory, or a hub snapshot.

    Raises SettingsError if there is nothing there.
    """
    if model == NANO:
        return WEIGHTS
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.count("/") == 1 and not path.is_absolute() and not model.startswith("."):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(model))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as failure:
            raise SettingsError(
                f"the hub model {model!r} could not be fetched ({type(failure).__name__}); "
                "download it first and pass its directory"
            ) from None
    raise SettingsError(f"no model at {model!r}: give `nano`, a directory, or a hub id OWNER/NAME")


def open_settings_engine(settings: Settings) -> Engine:
    """Load the model that the settings name. Raises SettingsError, with what to do."""
    if settings.engine == "scripted":
        return ScriptedEngine(["I have looked at both.</think>"])
    directory = model_directory(settings.model)
    try:
        import torch
    except ImportError:
        raise SettingsError(
            "the transformers engine needs torch: pip install 'closecall[transformers]'"
        ) from None
    torch.set_num_threads(settings.threads or max(1, (os.cpu_count() or 1) // settings.replicas))
    try:
        return open_engine(f"transformers:{directory}", settings.device)
    except (FileNotFoundError, ValueError) as failure:
        raise SettingsError(str(failure)) from failure


class Registry:
    """Every judge that one engine can be.

    Raises SettingsError if the model does not load, StyleMismatch if it does not speak the
    settings' style.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = open_settings_engine(settings)
        self.ladder = settings.ladder or self.engine.card.ladder or LADDER
        self._pairwise: dict[str, PairwiseJudge] = {}
        self.pairwise(None)

    def pairwise(self, style: str | None) -> PairwiseJudge:
        """The judge of pairs in `style`, or in the settings' style. Raises StyleMismatch."""
        name = style or self.settings.style
        if name not in self._pairwise:
            asked = self.style(name)
            self._pairwise[name] = PairwiseJudge(
                self.engine, asked, self._stopper(asked), self.ladder, self.settings.temperature
            )
        return self._pairwise[name]

    def pointwise(self, style: str | None) -> PointwiseJudge:
        """The judge of single responses. Raises StyleMismatch."""
        name = style or "grm"
        return PointwiseJudge(self.engine, self.style(name), self.ladder, self.settings.temperature)

    def style(self, name: str) -> Style:
        """Raises StyleMismatch for a style that is unknown or that this model was not made for."""
        made_for = self.engine.card.styles
        if made_for and name not in made_for:
            raise StyleMismatch(
                f"model {self.engine.card.name} speaks {', '.join(made_for)}, not {name!r}"
            )
        style = open_style(name)
        if self.settings.prompt_file is None or name != self.settings.style:
            return style
        if not isinstance(style, LabelStyle | ScoreStyle):
            raise StyleMismatch(f"style {name} takes no prompt file")
        return style.with_prompt(self.settings.prompt_file.read_text(encoding="utf-8"))

    def names(self) -> tuple[str, ...]:
        """The styles that fit this model."""
        fitting = []
        for name in self.engine.card.styles or style_names():
            try:
                self.pairwise(name)
            except StyleMismatch:
                continue
            fitting.append(name)
        return tuple(fitting)

    def close(self) -> None:
        self.engine.close()

    def _stopper(self, style: Style) -> Stopper | None:
        # Thresholds belong to the ladder and the decoding they were fitted on.
        plain = self.settings.ladder is None and self.settings.temperature == 0
        if self.settings.engine == "scripted" or not plain:
            return None
        directory = model_directory(self.settings.model)
        return load_stopper(directory, style.name, style.prompt_hash)
