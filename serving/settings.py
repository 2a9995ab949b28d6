"""What a service is told: by command line, environment (`CLOSECALL_…`) or a TOML file."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import (
    SettingsError as PydanticSettingsError,
)

from judges.styles.toml_file import FileError, line_of, read_toml
from rrm.allocation.meter import SEARCH_TOKENS
from rrm.engines.registry import DEFAULT, ENGINES, engine_entry
from serving.errors import SettingsError

ENGINE_OPTIONS = {
    "base_url": "base_url",
    "api_key": "engine_key",
    "tensor_parallel": "tensor_parallel",
    "memory_share": "memory_share",
    "server_args": "server_args",
    "logprobs": "logprobs",
    "prefill": "prefill",
}
"""fields of EngineOptions that only some engines take, and how they are called here"""
NANO = "nano"
"""the name of the bundled model"""


class Settings(BaseSettings):
    """Every knob of the service. Unknown keys are refused."""

    model_config = SettingsConfigDict(
        env_prefix="CLOSECALL_", extra="forbid", frozen=True, env_ignore_empty=True
    )

    model: str = Field(NANO, description="`nano`, a model directory, or a hub id")
    engine: str = Field(DEFAULT, description="by name: " + ", ".join(ENGINES))
    base_url: str | None = Field(
        None, description="a running SGLang server (none: a private one), or http://…/v1 of openai"
    )
    engine_key: SecretStr | None = Field(None, description="the key of the server at base_url")
    logprobs: bool | None = Field(
        None, description="whether the openai endpoint tells log-probabilities; none: found out"
    )
    prefill: bool | None = Field(
        None, description="whether it continues an assistant turn; none: found out"
    )
    device: str = Field("auto", description="cpu, cuda, cuda:1, …; auto: a GPU if there is one")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that hold one copy (SGLang)")
    memory_share: float | None = Field(
        None, gt=0, lt=1, description="of a GPU's memory, for weights and cache (SGLang)"
    )
    server_args: tuple[str, ...] = Field(
        (), description="more words for SGLang's launcher: --context-length, 8192"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32", "float64"] = Field(
        "auto", description="what the model computes in; auto: as its weights are stored"
    )
    style: str | None = Field(
        None, description="of requests that name none; none: the model's own, by its card or name"
    )
    prompt_file: Path | None = Field(
        None, description="a style of your own (.toml), or another instruction text for `style`"
    )
    calibration: Path | None = Field(
        None, description="thresholds from `closecall calibrate`; none: those beside the weights"
    )
    stopper: Path | None = Field(None, description="the old name of `calibration`")
    audit_share: float = Field(
        0.005, ge=0, le=1, description="of adaptive pairs, thought through whole to watch for drift"
    )
    tokens_per_pair: float | None = Field(
        None, ge=0, description="thinking tokens that adaptive pairs may take in the mean"
    )
    searcher: str | None = Field(
        None, description="searched for requests without evidence: bm25:PATH, or an address"
    )
    searchers: dict[str, str] = Field(
        {}, description="more of them, by the name that a request gives as its evidence"
    )
    max_searches: int = Field(4, ge=0, description="of one chain")
    search_seconds: float = Field(5.0, gt=0, description="of one search")
    search_tokens: float = Field(
        SEARCH_TOKENS,
        ge=0,
        description="generated tokens that a search costs, to policy and budget",
    )
    ladder: tuple[int, ...] | None = Field(
        None, description="checkpoints: thinking tokens of each chain, ascending"
    )
    temperature: float | None = Field(
        None, ge=0.0, le=2.0, description="none: as calibrated, else as the style's authors decode"
    )
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(
        None, ge=1, description="let replicas grow to so many when requests wait"
    )
    threads: int | None = Field(None, ge=1, description="CPU threads of each replica")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    api_keys: tuple[SecretStr, ...] = ()
    api_key_file: Path | None = Field(None, description="more keys, one a line; # for remarks")
    max_body_bytes: int = Field(512_000, ge=1_000)
    max_ongoing: int = Field(128, ge=1, description="pairs one replica judges at once")
    max_queued: int = Field(512, ge=0, description="pairs that wait; more are answered 429")
    request_timeout: float = Field(300.0, gt=0, description="seconds; the most a caller may ask")
    log_file: Path | None = Field(None, description="one JSON line a request; none: standard error")
    log_text: bool = Field(False, description="log prompts and responses too")

    @model_validator(mode="before")
    @classmethod
    def _keys_of_file(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("api_key_file"):
            return given
        file = Path(given["api_key_file"])
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as failure:
            raise ValueError(f"cannot read the API keys of {file}: {failure}") from None
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ValueError(f"{file} holds no API key; write one a line")
        return {**given, "api_keys": (*given.get("api_keys", ()), *keys)}

    @property
    def thresholds(self) -> Path | None:
        """The calibration file that was named, under either name."""
        return self.calibration or self.stopper

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
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas is below replicas ({self.replicas})")
        if self.calibration is not None and self.stopper is not None:
            raise ValueError("stopper is the old name of calibration; give only calibration")
        return self

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        engine_entry(engine)
        return engine

    @model_validator(mode="after")
    def _taken_by_the_engine(self) -> Settings:
        entry = engine_entry(self.engine)
        if entry.url_required and self.base_url is None:
            raise ValueError(f"engine {self.engine} needs base_url: http://HOST:PORT/v1")
        for option, name in ENGINE_OPTIONS.items():
            if name in self.model_fields_set and option not in entry.options:
                owners = [engine for engine, one in ENGINES.items() if option in one.options]
                raise ValueError(f"{name} belongs to engine {' or '.join(owners)}: give that too")
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
    text = ""
    in_file: dict[str, Any] = {}
    if config is not None:
        if not config.is_file():
            raise SettingsError(f"no config file {config}")
        try:
            text, in_file = read_toml(config)
        except FileError as failure:
            raise SettingsError(str(failure)) from None
    given = {key: value for key, value in given.items() if value is not None}

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
            file = InitSettingsSource(settings_cls, in_file)
            return (init_settings, env_settings, file)

    def place(loc: tuple[int | str, ...]) -> str:
        """Where a setting that is wrong was given: an option, a variable, or a line of the file."""
        name = str(loc[0]) if loc else ""
        path = ".".join(map(str, loc)) or "settings"
        variable = f"CLOSECALL_{name.upper()}"
        if name in given:
            return path
        if variable in os.environ:
            return f"{path} ({variable})"
        return f"{config}, line {line_of(text, loc)}: {path}" if name in in_file else path

    try:
        loaded = FromFile(**given)
    except ValidationError as failure:
        lines = [f"{place(error['loc'])}: {error['msg']}" for error in failure.errors()]
        raise SettingsError("\n".join(lines)) from None
    except PydanticSettingsError as failure:  # JSON in a variable
        raise SettingsError(f'{failure}; a list is written as JSON: \'["one", "two"]\'') from None
    # A plain Settings, so that it pickles to other processes.
    return Settings.model_construct(loaded.model_fields_set, **dict(loaded))
