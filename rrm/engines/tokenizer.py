"""A model's words: its tokenizer and chat template, the same for every engine that is fed ids."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

from jinja2 import TemplateError
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from rrm.engines.base import Sampling, TokenSequence
from rrm.engines.card import ModelCard
from rrm.engines.labels import plan_labels
from rrm.errors import PromptTooLong, StyleMismatch
from rrm.prompt import Rendered

PLANS = 1024
"""requests about labels whose ids are kept: a style asks the same few again and again"""


class ChatTokenizer:
    """Text to ids and back for the model in `directory`. Loads no weights.

    Raises FileNotFoundError if `directory` is no model directory.
    """

    def __init__(self, directory: Path) -> None:
        if not (directory / "config.json").is_file():
            raise FileNotFoundError(f"{directory} holds no model (no config.json)")
        self._directory = directory
        self._tokenizer = AutoTokenizer.from_pretrained(directory)
        self.context: int = AutoConfig.from_pretrained(directory).max_position_embeddings
        self.control = frozenset(self._tokenizer.all_special_tokens) | frozenset(
            token.content for token in self._tokenizer.added_tokens_decoder.values()
        )
        self.ends = {self._tokenizer.eos_token_id} | _ends(directory)
        self._pieces: dict[int, str] = {}
        self.plan = lru_cache(PLANS)(partial(plan_labels, self.encode))

    def encode(self, text: str) -> list[int]:
        """Token ids, nothing added."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids))

    def piece(self, token: int) -> str:
        """The text of one token."""
        if token not in self._pieces:
            self._pieces[token] = self.decode([token])
        return self._pieces[token]

    def one_token(self, text: str) -> int | None:
        """The id of a text that this tokenizer never writes in any other way, if it is such."""
        return self.encode(text)[0] if text in self.control else None

    def prompt(self, rendered: Rendered) -> list[int]:
        """A question's ids in the model's chat template. Raises PromptTooLong, StyleMismatch."""
        turns = [turn.model_dump() for turn in rendered.messages]
        try:
            text = str(
                self._tokenizer.apply_chat_template(
                    turns, add_generation_prompt=True, tokenize=False
                )
            )
        except (ValueError, TemplateError) as failure:  # there is none, or it refuses a role
            raise StyleMismatch(
                f"the chat template of {self._directory} does not take this style's turns: "
                f"{failure}; give a style that it takes, with --prompt-file"
            ) from None
        if not rendered.opening or not text.rstrip().endswith(rendered.opening.rstrip()):
            text += rendered.opening  # some templates open the thought themselves
        ids = self.encode(text)
        if len(ids) >= self.context:
            raise PromptTooLong(
                f"the prompt is {len(ids)} tokens and this model takes {self.context}; "
                "shorten it or use a model with a longer context"
            )
        return ids

    def cut(self, ids: list[int], stop: str) -> tuple[list[int], str]:
        """`ids` without what the last token says beyond `stop`, and their text."""
        text = self.decode(ids)
        if text.endswith(stop):
            return ids, text
        text = text[: text.rindex(stop) + len(stop)]
        kept = ids[:-1]
        return kept + self.encode(text.removeprefix(self.decode(kept))), text


class TokenEngine:
    """What engines share that are fed token ids: the tokenizer and the card of a model directory.

    Raises FileNotFoundError if `directory` is none.
    """

    can_probe = True
    sequence_type: type[TokenSequence] = TokenSequence

    def __init__(self, name: str, directory: Path) -> None:
        """name: of the engine."""
        self.tokenizer = ChatTokenizer(directory)
        self.control = self.tokenizer.control
        self.card = ModelCard.of(directory)
        self.url = f"{name}:{directory}"

    def start(self, rendered: Rendered, sampling: Sampling = Sampling()) -> TokenSequence:
        return self.sequence_type(prompt_ids=self.tokenizer.prompt(rendered), sampling=sampling)

    def begin(self, sequence: TokenSequence, opening: str) -> None:
        sequence.prompt_ids += self.tokenizer.encode(opening)

    def append(self, sequence: TokenSequence, text: str) -> None:
        new = self.tokenizer.encode(text)
        length = len(sequence.prompt_ids) + len(sequence.ids) + len(new)
        if length >= self.tokenizer.context:
            raise PromptTooLong(
                f"with what was found the sequence is {length} tokens, and this model takes "
                f"{self.tokenizer.context}"
            )
        sequence.ids += new
        sequence.text = self.tokenizer.decode(sequence.ids)
        sequence.appended += len(new)
        sequence.resumed, sequence.paused = len(sequence.ids), False


def _ends(directory: Path) -> set[int]:
    """The ids that end a turn, as the model's generation config names them."""
    if not (directory / "generation_config.json").is_file():
        return set()
    ends = GenerationConfig.from_pretrained(directory).eos_token_id
    return set(ends if isinstance(ends, list) else [] if ends is None else [ends])
