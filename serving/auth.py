"""Who may call what: a pure function, and closed unless a route is marked open."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence
from enum import Enum

OPEN_ROUTES = frozenset(
    {"/live", "/ready", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
)
"""answered without a key: orchestrators ask the first two, people read the others, which tell
nothing of what is served here"""
OPEN_FOLDER = "/static-offline-docs"
"""scripts and styles of the pages"""


class Decision(Enum):
    """Whether a request may pass, and if not, why."""

    ALLOW = "allow"
    NO_KEY = "no key"
    WRONG_KEY = "wrong key"


def decide(path: str, authorization: str | None, keys: Sequence[str]) -> Decision:
    """Whether a request to `path` with this Authorization header may pass.

    Without configured keys everything may (the service is bound to loopback then). Keys are
    compared in constant time, and all of them, so that timing tells nothing.
    """
    if not keys or path in OPEN_ROUTES or path.startswith(f"{OPEN_FOLDER}/"):
        return Decision.ALLOW
    given = _key(authorization or "")
    if not given:
        return Decision.NO_KEY
    offered = hashlib.sha256(given.encode()).digest()
    matches = [
        secrets.compare_digest(offered, hashlib.sha256(key.encode()).digest()) for key in keys
    ]
    return Decision.ALLOW if any(matches) else Decision.WRONG_KEY


def _key(authorization: str) -> str:
    """The key of a Bearer header, or of a Basic one as its password.

    A trainer that can only be given a URL calls http://closecall:KEY@HOST/get_reward.
    """
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
