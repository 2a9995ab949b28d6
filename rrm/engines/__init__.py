"""The engines, and `open_engine`, which imports the one it opens and no other."""

from __future__ import annotations

from pathlib import Path

from rrm.engine import Engine, EngineOptions


def open_engine(url: str, options: EngineOptions = EngineOptions()) -> Engine:
    """Open the engine named by `url`.

    `transformers:DIR`; `sglang:DIR`, a private server or the one at `options.base_url`;
    `openai:MODEL`, whatever speaks OpenAI's chat at `options.base_url`; `scripted:` (see
    `engines.scripted`). Heavy libraries are imported here and no earlier.
    Raises ValueError for an unknown kind or option, FileNotFoundError for a missing model,
    EngineError for a server that does not answer.
    """
    kind, _, rest = url.partition(":")
    if kind == "transformers":
        from rrm.engines.transformers import TransformersEngine

        return TransformersEngine(Path(rest), device=options.device, dtype=options.dtype)
    if kind == "sglang":
        from rrm.engines.sglang import SGLangEngine

        return SGLangEngine(Path(rest), options)
    if kind == "openai":
        from rrm.engines.openai import OpenAIEngine

        return OpenAIEngine(rest, options)
    if kind == "scripted":
        from rrm.engines.scripted import scripted

        return scripted(rest)
    raise ValueError(
        f"unknown engine {url!r}: give transformers:DIR, sglang:DIR, openai:MODEL or scripted:"
    )
