"""Names that were retired do not come back; those that are public keep their old spelling."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RETIRED = {
    # identifier: what stands in its place
    "Asked": "JudgeOptions",
    "Question": "ProbeRequest",
    "Probed": "ProbeResult",
    "Growth": "ExtendRequest",
    "Chain": "TokenSequence",
    "ChainPair": "SwapPair",
    "Thought": "JudgeChain",
    "Judgement": "JudgeRun",
    "Bench": "gone",
    "Purse": "Account",
    "Share": "PairAccount",
    "bid": "marginal_value",
    "Stopper": "Calibration",
    "Stage": "PlattScalers",
    "Curve": "PlattScaler, OperatingCurve",
    "Line": "LadderPlan, Rival, JudgedRow",
    "Auditor": "RiskMonitor",
    "Productivity": "ThinkingGain",
    "AT_ONCE": "PROMPT_ONLY, REPLY_AT_ONCE, CONCURRENCY",
    "at_once": "prompt_only, without_thought",
    "heat": "temperature",
    "Words": "ChatTokenizer",
    "Path_": "TokenPath",
    "Side": "Preference",
    "Door": "Gateway",
    "RewardDesk": "RewardHandler",
    "Turnstile": "ProbeBatcher",
    "Registry": "ModelHost",
    "Record": "RequestLogMiddleware",
    "Guard": "AuthMiddleware",
    "Hangup": "CancelOnDisconnectMiddleware",
    "BodyLimit": "BodySizeLimitMiddleware",
    "Fence": "Sanitizer",
    "defang": "sanitize",
    "Turns": "PromptTemplate",
    "Contract": "StyleSpec",
    "ContractError": "FileError",
    "Told": "OutcomePart",
    "check_origin": "check_imports",
}
MODULES = {
    *("asked", "tournament", "contract", "contracts", "families", "labels", "scores", "turns"),
    *("wire", "rows", "page", "show", "process", "observe", "door", "registry", "origin", "app"),
    *("chain", "stopping", "priced", "thresholds", "votes", "audit", "productivity", "purse"),
}
"""of a package's top, where they were before"""
PUBLIC = {
    "rrm/types.py": {"stopper"},  # Provenance.stopper, on the wire
    "serving/settings.py": {"stopper"},  # a setting, with `calibration` as its name since
}
"""old names that callers use: file to names"""


def sources() -> Iterator[Path]:
    for room in ("rrm", "judges", "serving", "benchmarks"):
        yield from sorted((ROOT / room).rglob("*.py"))


def names(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found.add(node.name)
            case ast.Name():
                found.add(node.id)
            case ast.Attribute():
                found.add(node.attr)
            case ast.arg() | ast.keyword() if node.arg:
                found.add(node.arg)
            case ast.alias():
                found.add(node.asname or node.name)
    return found


@pytest.mark.parametrize("file", list(sources()), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_retired_name_comes_back(file: Path) -> None:
    back = names(file) & set(RETIRED)
    assert not {name: RETIRED[name] for name in back}


def test_public_names_that_stay_are_listed() -> None:
    stay = {
        str(file.relative_to(ROOT))
        for file in sources()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == "stopper"
    }
    assert stay == set(PUBLIC)


@pytest.mark.parametrize("room", ["rrm", "judges", "serving"])
def test_no_retired_module_stands_at_a_packages_top(room: str) -> None:
    assert not MODULES & {file.stem for file in (ROOT / room).glob("*.py")}
