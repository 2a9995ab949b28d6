"""The service: REST, the command line, the client, trainers.

Public: Client, AsyncClient, ServiceError, Settings.
"""

from typing import TYPE_CHECKING

from rrm.lazy import lazily

if TYPE_CHECKING:
    from serving.client import AsyncClient, Client
    from serving.errors import ServiceError
    from serving.settings import Settings

__all__ = ["AsyncClient", "Client", "ServiceError", "Settings"]
__getattr__ = lazily(
    __name__,
    {
        "AsyncClient": "serving.client",
        "Client": "serving.client",
        "ServiceError": "serving.errors",
        "Settings": "serving.settings",
    },
)
