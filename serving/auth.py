"""Who may call what: a pure function, and closed unless a route is marked open."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from enum import Enum

OPEN_ROUTES = frozenset({"/live", "/ready"})
"""answered without a key, so that orchestrators can ask"""


class Decision(Enum):
    ALLOW = "allow"
    NO_KEY = "no key"
    WRONG_KEY = "wrong key"


def decide(path: str, authorization: str | None, keys: Sequence[str]) -> Decision:
    """Whether a request to `path` with this Authorization header may pass.

    Without configured keys everything may (the service is bound to loopback then). Keys are
    compared in constant time, and all of them, so that timing tells nothing.
    """
    if not keys or path in OPEN_ROUTES:
        return Decision.ALLOW
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        return Decision.NO_KEY
    offered = hashlib.sha256(given.strip().encode()).digest()
    matches = [
        secrets.compare_digest(offered, hashlib.sha256(key.encode()).digest()) for key in keys
    ]
    return Decision.ALLOW if any(matches) else Decision.WRONG_KEY
