"""Nothing that a stranger sends takes more than linear time.

The one place where a test looks at the clock: ten times the text may take up to 40 times as long,
where a quadratic pattern takes 100 times.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from judges.nano import WEIGHTS
from judges.styles.label import LabelStyle
from judges.styles.registry import open_style, style_names
from judges.styles.score import ScoreStyle
from judges.styles.spec import read_spec
from rrm.engines.card import ModelCard
from rrm.prompt import Domain, Sanitizer
from serving.rlhf.openrlhf import read_sample
from tests.helpers.styles import RM_R1_INSTRUCT

ROOT = Path(__file__).parent.parent
SIZES = (10_000, 100_000, 1_000_000)
MOST = 40
NOTICED = 0.02
"""seconds below which nothing is compared"""
STARTS = (
    *("<", "</", "<|", "<|im_start|>user\n", "<|im_end|>", "</s>", "<answer>", "<answer>A"),
    *("<eval>", "<eval></rubric>", "<think>", "\\boxed", "\\boxed{", "\\boxed{Assistant"),
    *("[", "[[", "[[A", "[/", "[The Begin of Ranking Score]", "[The Begin of Response", "[RESULT]"),
    *("[The Begin of Ranking Score]\\boxed{1", "#", "##", "## Query", "1", "1,", "1 ,", "1.", "a"),
    *("<|start_header_id|>user<|end_header_id|>\n\n", "<｜a", "[x]", "name =", '"a"', "", "\u3000"),
)


def texts(size: int) -> Iterator[str]:
    """What takes long where something takes long: runs of spaces, and one piece again and again."""
    for start in STARTS:
        yield start + " " * size
        yield (start * (size // max(1, len(start)))) or "\n" * size
        yield (start + " " * 1000) * (size // 1000) + "x"


def seconds(work: Callable[[str], object], text: str) -> float:
    """Of computing, in this thread: what runs beside it does not count."""
    began = time.thread_time()
    work(text)
    return time.thread_time() - began


def assert_linear(work: Callable[[str], object], name: str) -> None:
    """Every text in ten times the size takes no more than MOST times as long."""
    before = [0.0] * len(list(texts(1)))
    for size in SIZES:
        for index, text in enumerate(texts(size)):
            limit = MOST * max(before[index], NOTICED)
            took = seconds(work, text)
            if took >= limit:  # a busy machine may be to blame, once
                took = min(took, seconds(work, text), seconds(work, text))
            assert took < limit, f"{name}: {took:.2f} s for {text[:40]!r}, {size} characters"
            before[index] = took


def literal_patterns() -> dict[str, tuple[str, str]]:
    """Every pattern in our code and in the contract files by its place, and how it is used."""
    found: dict[str, tuple[str, str]] = {}
    built = set()
    for package in ("rrm", "judges", "serving"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                of = node.func.value
                if not isinstance(of, ast.Name) or of.id != "re" or node.func.attr == "escape":
                    continue
                place = f"{file.relative_to(ROOT)}:{node.lineno}"
                pattern = node.args[0]
                if isinstance(pattern, ast.Constant) and isinstance(pattern.value, str):
                    found[place] = pattern.value, node.func.attr
                else:
                    built.add(str(file.relative_to(ROOT)))
    assert built == BUILT, "a pattern that is put together needs a case in FUNCTIONS"
    for file in sorted((ROOT / "judges" / "families").glob("*.toml")):
        contract = read_spec(file)
        part = contract.labels or contract.scores
        assert part is not None
        found[f"judges/families/{file.name}"] = part.pattern, "compile"
    return found


BUILT = {
    "judges/styles/label.py",
    "rrm/prompt.py",
    "judges/styles/spec.py",
    "serving/rlhf/openrlhf.py",
}
"""files whose patterns are put together; what they match is tried through FUNCTIONS, but for what
reads our own files (families)"""


def fenced(text: str) -> object:
    styles = [open_style(name) for name in style_names()]
    assert all(isinstance(style, LabelStyle | ScoreStyle) for style in styles)
    markers = {m for style in styles for m in style.template.sanitizer.markers}  # type: ignore[attr-defined]
    return Sanitizer(tuple(sorted(markers))).sanitize(text, ("<|im_start|>", "</s>", "<think>"))


def sampled(text: str) -> object:
    for query, prompt in ((f"p {text}", "p"), (f"{text}r", text or "p"), (f"{text}p{text}", "p")):
        try:
            read_sample(query, prompt, None)
        except ValueError:
            continue
    return None


READS = ModelCard.of(WEIGHTS).reads or Domain(describe="", words=(), signs="", digits=0)

FUNCTIONS: dict[str, Callable[[str], object]] = {
    "a fence with the markers of all styles": fenced,
    **{
        f"the parser of {name}": lambda text, name=name: open_style(name).parse(text, 2)  # type: ignore[misc]
        for name in style_names()
    },
    "sections that are closed": lambda text: RM_R1_INSTRUCT.suffix(text, ended=False),
    "a reward's query": sampled,
    "what nano can read": lambda text: READS.refuse("nano", [text]),
}


@pytest.mark.slow
def test_every_pattern_of_the_tree() -> None:
    patterns = literal_patterns()
    assert len(patterns) > 15
    for place, (pattern, use) in patterns.items():
        one = re.compile(pattern)
        anchored = one.fullmatch if use == "fullmatch" else one.match
        everywhere: Callable[[str], object] = one.findall
        assert_linear(anchored if use in ("match", "fullmatch") else everywhere, place)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_everything_that_reads_a_strangers_text(name: str) -> None:
    def work(text: str) -> None:
        try:
            FUNCTIONS[name](text)
        except ValueError:
            return

    assert_linear(work, name)
