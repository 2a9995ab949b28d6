"""The styles that tests use most."""

from judges.styles.label import LabelStyle
from judges.styles.registry import family_style
from judges.styles.score import ScoreStyle


def label_style(name: str) -> LabelStyle:
    style = family_style(name)
    assert isinstance(style, LabelStyle)
    return style


def score_style(name: str) -> ScoreStyle:
    style = family_style(name)
    assert isinstance(style, ScoreStyle)
    return style


RRM, RM_R1, RM_R1_INSTRUCT = map(label_style, ("rrm", "rm-r1", "rm-r1-instruct"))
THINKLESS = label_style("thinkless")
GRM = score_style("grm")
