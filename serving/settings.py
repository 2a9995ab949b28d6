"""What a service is told: by command line, environment (`CLOSECALL_…`) or a TOML file."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

NANO = "nano"
"""the name of the bundled model"""


class SettingsError(ValueError):
    """The service cannot start like this; the message says what to change."""


class Settings(BaseSettings):
    """Every knob of the service. Unknown keys are refused."""

    model_config = SettingsConfigDict(
        env_prefix="CLOSECALL_", extra="forbid", frozen=True, env_ignore_empty=True
    )

    model: str = Field(NANO, description="`nano`, a model directory, or a hub id")
    engine: Literal["transformers", "scripted"] = "transformers"
    device: str = Field("cpu", description="cpu, cuda, cuda:1, …")
    style: str = Field("rrm", description="the style of requests that name none")
    prompt_file: Path | None = Field(None, description="another instruction text for `style`")
    ladder: tuple[int, ...] | None = Field(
        None, description="checkpoints: thinking tokens of each chain, ascending"
    )
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    replicas: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1, description="CPU threads of each replica")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    api_keys: tuple[SecretStr, ...] = ()
    max_body_bytes: int = Field(512_000, ge=1_000)
    max_ongoing: int = Field(128, ge=1, description="pairs one replica judges at once")
    max_queued: int = Field(512, ge=0, description="pairs that wait; more are answered 429")
    request_timeout: float = Field(300.0, gt=0, description="seconds")

    @field_validator("ladder")
    @classmethod
    def _ascending(cls, ladder: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if ladder is not None and (
            not ladder or list(ladder) != sorted(set(ladder)) or ladder[0] < 1
        ):
            raise ValueError("must be ascending positive token counts, such as [64, 128, 256]")
        return ladder

    @model_validator(mode="after")
    def _closed_by_default(self) -> Settings:
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"without an API key the service binds loopback only, not {self.host}; set "
                "CLOSECALL_API_KEYS='[\"a-long-random-key\"]', or --host 127.0.0.1"
            )
        if any(len(key.get_secret_value()) < 8 for key in self.api_keys):
            raise ValueError("an API key needs at least 8 characters")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(config: Path | None = None, **given: Any) -> Settings:
    """Settings from `given` (None means not given), then the environment, then `config`.

    Raises SettingsError, one line a fault, with what to do.
    """
    if config is not None and not config.is_file():
        raise SettingsError(f"no config file {config}")

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            file = () if config is None else (TomlConfigSettingsSource(settings_cls, config),)
            return (init_settings, env_settings, *file)

    try:
        loaded = FromFile(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as failure:
        lines = [
            f"{'.'.join(map(str, error['loc'])) or 'settings'}: {error['msg']}"
            for error in failure.errors()
        ]
        raise SettingsError("\n".join(lines)) from None
    except ValueError as failure:  # unreadable TOML or JSON in a variable
        raise SettingsError(str(failure)) from None
    # A plain Settings, so that it pickles to other processes.
    return Settings.model_construct(**dict(loaded))
