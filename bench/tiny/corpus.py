"""Four bodies of text that share their language and not their sentences, as sessions of a chat.

`base` trains the model that everybody may have, `public` is what an attacker reads (and trains a model of its own on),
`traffic` is what clients send, `private` is what a model is fine-tuned on in secret. Lines of prose.txt, a copy of this
repository's own documentation, go to one of the first three in turn; the rest is from templates.
"""

from __future__ import annotations

from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Literal

from bench.tiny import grammar

Body = Literal["base", "public", "traffic", "private"]

PROSE = Path(__file__).parent / "prose.txt"
SYSTEM = "You are a helpful assistant. Answer in short and plain sentences, and say so when you do not know the answer."
BEGIN, END, SYSTEM_MARK, USER_MARK, ASSISTANT_MARK = "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (BEGIN, END, SYSTEM_MARK, USER_MARK, ASSISTANT_MARK)
# The template in Jinja, for tokenizer_config.json: what `session` writes.
CHAT_TEMPLATE = (
    f"{{{{ '{BEGIN}{SYSTEM_MARK}{SYSTEM}' }}}}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|assistant|>' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_SEEDS: dict[Body, int] = {"base": 1, "public": 2, "traffic": 3, "private": 4}
_CHARACTERS = 400_000


@cache
def sessions(body: Body, characters: int = _CHARACTERS) -> tuple[str, ...]:
    """Sessions of one body, at least `characters` of templates with the body's share of the prose between them."""
    templates = grammar.documents(_SEEDS[body], characters, private=body == "private")
    lines = PROSE.read_text(encoding="utf-8").splitlines()
    prose = [] if body == "private" else lines[_SEEDS[body] - 1 :: 3]
    # Spread evenly, so that the beginning of a body is like its end.
    step = max(len(templates) // max(len(prose), 1), 1)
    mixed: list[str] = []
    prosaic = iter(prose)
    for place, text in zip(cycle(range(step)), templates, strict=False):
        mixed.append(text)
        if place == 0:
            mixed += [line for line in [next(prosaic, None)] if line is not None]
    return tuple(session(text) for text in mixed)


def session(text: str) -> str:
    """A question and its answer: the first sentence, and the rest."""
    question, _, answer = text.partition(". ")
    return f"{opening()}{question.rstrip('.')}.{ASSISTANT_MARK}{answer or question}{END}"


def opening() -> str:
    """What every session begins with, word for word: the chat template and its system prompt."""
    return f"{BEGIN}{SYSTEM_MARK}{SYSTEM}{USER_MARK}"
