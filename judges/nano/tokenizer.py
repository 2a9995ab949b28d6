"""nano's tokenizer: a known word is one token, a digit or a sign one, anything else falls to bytes.

Every constant piece of a style's contract is one token, whatever its wording. So prompts are 30 to
50 tokens, and a wording can change by writing the tokenizer again (`python -m
judges.nano.tokenizer`), without training, as long as the pieces keep their number and order.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from judges.nano import WEIGHTS, lookups, tricks
from judges.nano.data import QUESTIONS, REPLIES, RESULT, SEARCH
from judges.styles.hooks import SCORES, STAND_IN
from judges.styles.label import LabelStyle
from judges.styles.registry import families, family_style
from rrm.engines.card import CARD_FILE, ModelCard
from rrm.prompt import Domain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

STYLES = ("rrm", "rm-r1", "grm", "thinkless")
ROLES = ("<|user|>", "<|assistant|>", "<|end|>", "<|pad|>", "<|system|>")
ASKED = (
    "What is Compute Calculate How much Work out does equal Find Please compute Can you tell me "
    "what The answer It comes to That I think result Answer the sum of difference between product "
    "and plus minus times add Assistant Chatbot Response A B none not found refused"
)
WORDS = tuple(dict.fromkeys((*re.findall(r"\w+", ASKED), *tricks.words())))
SIGNS = ("+", "-", "*", "=", "x")
SPLIT = r"\d| ?[A-Za-z]+| [+\-*=]|[^\sA-Za-z\d]|\s"
CLIENT, CONTEXT = "\n\n[Client Question]", "\n\n#### Conversation Context"
"""where rm-r1 and grm go on from their instruction to the question"""
LADDER = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 128)
READS = (
    "short questions about sums, differences and products of whole numbers up to 999, "
    "and responses that state such a number; with evidence, names of one letter in place of some "
    "of the numbers"
)
# nano was trained without GRM's last section, so its template leaves that out.
UNSEEN = "\n#### Output Format Requirements ####"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('" + json.dumps(UNSEEN)[1:-1] + "')"
    "[0] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def pieces() -> tuple[str, ...]:
    """The constant pieces of the styles, in the order of their token ids."""
    rrm, rm_r1, grm, thinkless = map(family_style, STYLES)
    if not isinstance(thinkless, LabelStyle):
        raise AssertionError("thinkless has labels")
    verdict_openings = [style.suffix("", ended=True) for style in (rrm, rm_r1)]
    query, first, second, analysis = _between_slots(rrm.template.turns[1].content)
    question, start_a, a_to_b, end_b = _between_slots(rm_r1.template.turns[0].content)
    _, client = _before(question, CLIENT)
    end_a, start_b = _before(a_to_b, "\n\n[The Start of")
    scoring, scored, _ = _between_slots(grm.template.turns[0].content)
    _, context = _before(scoring, CONTEXT)
    begin_response, _, end_response, _ = re.split(r"\]?\n?\{\w+\}\n?", grm.template.response)
    return (
        *ROLES,
        rrm.opening,
        rrm.stop,
        thinkless.short,
        *SEARCH,
        *RESULT,
        *leads("rrm"),
        *leads("rm-r1"),
        *leads("grm"),
        *leads("thinkless"),
        query,
        first,
        second,
        analysis,
        verdict_openings[0],
        client,
        start_a,
        end_a,
        start_b,
        end_b,
        verdict_openings[1],
        "]]</answer>",
        context,
        scored,
        begin_response,
        end_response,
        STAND_IN,
        SCORES,
    )


def leads(style: str) -> list[str]:
    """What comes before the question, in each wording of the style's instruction."""
    mark = {"rm-r1": CLIENT, "grm": CONTEXT}.get(style)
    found = []
    for number in range(families()[style].wordings_count):
        first = family_style(style, number).template.turns[0].content
        found.append(_before(first, mark)[0] if mark else first)
    return found


def _between_slots(template: str) -> list[str]:
    return re.split(r"\{\w+\}", template)


def _before(text: str, mark: str) -> tuple[str, str]:
    head, found, tail = text.partition(mark)
    return head, found + tail


def build() -> PreTrainedTokenizerFast:
    """The tokenizer, from the styles as they stand."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {
        char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))
    }
    words = [form for word in (*WORDS, *lookups.LETTERS) for form in (word, "Ġ" + word)]
    for word in (*words, *("Ġ" + sign for sign in SIGNS)):
        vocabulary.setdefault(word, len(vocabulary))
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_tokens(
        [AddedToken(piece, normalized=False, special=piece in ROLES) for piece in pieces()]
    )
    built: PreTrainedTokenizerFast = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|end|>",  # noqa: S106 a token, no secret
        pad_token="<|pad|>",  # noqa: S106
        chat_template=CHAT_TEMPLATE,
    )
    return built


def card() -> ModelCard:
    """What the service should know about nano."""
    said = " ".join((*QUESTIONS, *REPLIES)).replace("{x}", "").replace("{n}", "")
    terms = "the sum of and plus the difference between minus times the product x"
    found = re.findall(r"[A-Za-z]+", f"{said} {terms}")
    words = tuple(dict.fromkeys((*found, *tricks.words())))
    domain = Domain(
        describe=READS, words=words, signs="+-*=?.,:!'", digits=3, names=tuple(lookups.LETTERS)
    )
    return ModelCard(name="nano", styles=STYLES, ladder=LADDER, reads=domain)


def save(directory: Path) -> PreTrainedTokenizerFast:
    """Write the tokenizer and the card as a stock model directory has them."""
    words = build()
    words.save_pretrained(directory)
    text = card().model_dump_json(indent=1) + "\n"
    (directory / CARD_FILE).write_text(text, encoding="utf-8")
    return words


if __name__ == "__main__":
    save(WEIGHTS)
