"""Ray lets in only who holds this service's token, whatever the environment says.

Ray's own sockets (its control store, raylets, workers, Serve's replicas) listen on every interface,
and whoever may speak to them can run any command. Ray 2.59 and later ask for a token unless the
environment says otherwise; here it does not.
"""

from __future__ import annotations

import importlib
import os
import secrets
from typing import Any

from rrm.errors import install_hint
from serving.errors import SettingsError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def require_token() -> None:
    """Turn token mode on, with a new token of our own, for this process and its children.

    To be called before Ray starts. Raises SettingsError where token mode cannot be had.
    """
    os.environ[MODE] = "token"
    os.environ[TOKEN] = secrets.token_hex(32)
    os.environ.pop(TOKEN_PATH, None)
    try:
        # Ray reads both once, when it is first imported; here it reads them again.
        core: Any = importlib.import_module("ray._raylet")
        core.Config.initialize("")
        core.AuthenticationTokenLoader.instance().reset_cache()
        enforced = core.get_authentication_mode() == core.AuthenticationMode.TOKEN
    except (ImportError, AttributeError):
        enforced = False
    if not enforced:
        raise SettingsError(
            "this Ray cannot be made to ask for a token, so anybody who reaches this machine could "
            f"run commands through it: install a newer one, {install_hint('serve')}"
        )
