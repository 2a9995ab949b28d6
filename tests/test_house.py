"""What keeps a file or a class small enough to be read in one sitting."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_LINES, MOST_ATTRIBUTES, MOST_METHODS = 350, 12, 15


def files() -> Iterator[Path]:
    for room in ("rrm", "judges", "serving"):
        yield from sorted((ROOT / room).rglob("*.py"))


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for file in files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield f"{file.relative_to(ROOT)}: {node.name}", node


def attributes(node: ast.ClassDef) -> set[str]:
    """What it assigns on self."""
    return {
        one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and isinstance(one.value, ast.Name)
        and one.value.id == "self"
    }


def methods(node: ast.ClassDef) -> list[str]:
    found = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    overloads = [one for one in found if any("overload" in ast.dump(d) for d in one.decorator_list)]
    return [one.name for one in found if one not in overloads]


def test_no_file_is_too_long() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files()}
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}


def test_no_class_holds_too_much() -> None:
    held = {name: len(attributes(node)) for name, node in classes()}
    assert {name: n for name, n in held.items() if n > MOST_ATTRIBUTES} == {}


def test_no_class_does_too_much() -> None:
    done = {name: len(methods(node)) for name, node in classes()}
    assert {name: n for name, n in done.items() if n > MOST_METHODS} == {}
