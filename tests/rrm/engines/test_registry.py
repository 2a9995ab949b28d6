"""The table of engines: what it says is so, and one more engine is one module and one entry."""

import ast
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from rrm.engines.base import EngineOptions
from rrm.engines.registry import ENGINES, engine_entry
from serving.errors import SettingsError
from serving.settings import ENGINE_OPTIONS, load_settings
from serving.testing.process import ServiceProcess

ROOT = Path(__file__).parents[3]
ECHO = '''
"""An engine that finds longer responses better. It loads nothing."""

from dataclasses import replace

from rrm.engines.card import ModelCard
from rrm.engines.registry import ENGINES
from rrm.engines.scripted import ScriptedEngine

ENTRY = replace(ENGINES["scripted"], module=__name__, model="any word", model_required=True)


def longer(sequence, suffix, labels):
    text = "".join(map(chr, sequence.prompt_ids))
    first, second = text.find("first one"), text.find("second")
    return dict(zip(labels, (-0.1, -2.4) if first < second else (-2.4, -0.1)))


def open_engine(model, options):
    return ScriptedEngine(["Hm.</think>"], longer, card=ModelCard(name=f"echo of {model}"))
'''


def install(folder: Path) -> None:
    """As pip would: a module, and a distribution with an entry point."""
    (folder / "echo_engine.py").write_text(ECHO, encoding="utf-8")
    info = folder / "echo_engine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-engine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[closecall.engines]\necho = echo_engine:ENTRY\n")


@pytest.mark.service
def test_an_engine_of_another_distribution_is_served(tmp_path: Path) -> None:
    install(tmp_path)
    options = ("--engine", "echo", "--model", "hills")
    with ServiceProcess(tmp_path / "log", *options, env={"PYTHONPATH": str(tmp_path)}) as service:
        found = service.judge(prompt="Which?", response_a="the first one", response_b="the second")
        assert found.json()["preferred"] == "a", found.text
        assert found.json()["judge"]["model"] == "echo of hills"
        [judge] = [one for one in service.http.get("/v1/judges").json()["judges"] if one["default"]]
        assert judge["engine"] == "echo"
    with pytest.raises(SettingsError, match="give transformers, sglang, openai"):
        load_settings(engine="echo")


def test_nothing_else_asks_for_an_engine_by_its_name() -> None:
    found = []
    for file in ROOT.glob("*/**/*.py"):
        part = file.relative_to(ROOT)
        if part.parts[0] not in ("rrm", "judges", "serving") or part.parts[:2] == (
            "rrm",
            "engines",
        ):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                sides += [one for side in sides for one in getattr(side, "elts", ())]
                constants = [one for one in sides if isinstance(one, ast.Constant)]
                found += [f"{part}:{node.lineno}" for one in constants if one.value in ENGINES]
    assert not found


@pytest.mark.parametrize("name", ENGINES)
def test_a_row_says_what_is_so(name: str) -> None:
    entry = ENGINES[name]
    assert all(option in EngineOptions.__dataclass_fields__ for option in entry.options)
    assert set(entry.options) <= set(ENGINE_OPTIONS)
    if entry.lacking("http://somewhere"):
        pytest.skip("not installed here")
    assert callable(import_module(entry.module).open_engine)


def test_what_lacks_is_named_with_how_to_get_it() -> None:
    assert find_spec("no_such_package") is None
    entry = replace(engine_entry("sglang"), requires=(), hosts_with=("no_such_package",))
    assert entry.lacking("http://a-server-that-runs") is None
    assert "no_such_package not installed: .venv/bin/pip install -e '.[sglang]'" in str(
        entry.lacking(None)
    )


def test_an_option_of_another_engine_is_refused() -> None:
    with pytest.raises(SettingsError, match="prefill belongs to engine openai"):
        load_settings(prefill=True)
    with pytest.raises(SettingsError, match="engine_key belongs to engine sglang or openai"):
        load_settings(engine="scripted", engine_key="k" * 9)
    with pytest.raises(SettingsError, match="engine openai needs base_url"):
        load_settings(engine="openai", model="m")
