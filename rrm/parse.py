"""Reply text -> reading. The last verdict wins, is judged after it is found, and nothing raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choice:
    """The reply prefers response `index` (0 = the first as shown; None: it calls them even)."""

    index: int | None


@dataclass(frozen=True)
class Scores:
    """The reply scores each response, in the order shown."""

    values: tuple[int, ...]


@dataclass(frozen=True)
class Unread:
    """The reply holds no verdict; `detail` quotes what stood in its place."""

    reason: Literal["unparseable", "off_menu", "truncated"]
    detail: str


ParsedVerdict = Choice | Scores | Unread

BOXED = re.compile(r"\\boxed\s*+\{([^{}]{0,200}+)\}")
_NUMBERS = re.compile(r"[0-9]{1,3}(?:\s*+,\s*+[0-9]{1,3})*+")


def after_thought(text: str, opened: bool = False) -> str | Unread:
    """What follows the thought; `opened`: the prompt itself had opened a `<think>`."""
    _, closed, tail = text.rpartition("</think>")
    if "<think>" in tail or (not closed and (opened or "<think>" in text)):
        return Unread("truncated", "the thought was never closed")
    return tail if closed else text


def last_choice(
    text: str, mark: re.Pattern[str], menu: Mapping[str, int | None]
) -> Choice | Unread:
    """The last `mark` in `text`, looked up in `menu` (keys in lower case, single spaces)."""
    found = [match[1] for match in mark.finditer(text)]
    if not found:
        return Unread("unparseable", text[-120:])
    label = " ".join(found[-1].split()).lower()
    if label not in menu:
        return Unread("off_menu", found[-1][:120])
    return Choice(menu[label])


def last_scores(
    text: str, mark: re.Pattern[str], n: int, low: int, high: int, one_each: bool = False
) -> Scores | Unread:
    """The last `mark` with exactly n whole numbers, each from `low` to `high`.

    one_each: a mark holds one number, and the last n of them count.
    """
    found = [match[1] for match in mark.finditer(text)]
    if one_each:
        found = [", ".join(found[-n:])] if len(found) >= n else []
    lists = [
        tuple(int(number) for number in listed.split(","))
        for listed in found
        if _NUMBERS.fullmatch(listed.strip()) and listed.count(",") == n - 1
    ]
    if not lists:
        return Unread("off_menu" if found else "unparseable", (found or [text])[-1][-120:])
    if not all(low <= value <= high for value in lists[-1]):
        return Unread("off_menu", str(lists[-1]))
    return Scores(lists[-1])
