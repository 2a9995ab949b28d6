"""Trainers that ask the service for rewards: a module each, and the routers they post to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter

    from serving.routes import GatewayProtocol


def routers(gateway: GatewayProtocol, most_seconds: float) -> list[APIRouter]:
    """A router a trainer. most_seconds: that the service allows a request."""
    from serving.rlhf import openrlhf

    return [openrlhf.router(gateway, most_seconds)]
