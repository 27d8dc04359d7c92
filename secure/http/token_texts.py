"""What single tokens are as text and bytes, and which of an answer's tokens have arrived with its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from secure.http.backend import TokenLikelihood
from secure.parties.encrypted.tokens import TokenLogprobs

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_BYTE = re.compile("<0x([0-9A-F]{2})>")
"""How tokenizers with byte fallback call a token of one byte."""


class TokenTexts:
    """The texts of one tokenizer's tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # Some decoders drop a space at the beginning of a text, where no token of an answer is.
        self._before: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._special = frozenset(tokenizer.all_special_ids)

    def is_shown(self, token: int) -> bool:
        """Whether a token is part of an answer's text."""
        return token not in self._special

    def of(self, token: int) -> tuple[str, bytes | None]:
        """Its text and its bytes. A part of a character is shown as OpenAI does, such as bytes:\\xe2\\x82."""
        before, whole = self._decoded(self._before), self._decoded([*self._before, token])
        text = whole.removeprefix(before)
        if _REPLACEMENT not in text:
            return text, text.encode()
        data = self._bytes(str(self._tokenizer.convert_ids_to_tokens(token)))
        return (text, None) if data is None else ("bytes:" + "".join(f"\\x{byte:02x}" for byte in data), data)

    def _decoded(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _bytes(self, name: str) -> bytes | None:
        one = _BYTE.fullmatch(name)
        if one:
            return bytes([int(one[1], 16)])
        known = _byte_of_letter()
        return bytes(known[letter] for letter in name) if all(letter in known for letter in name) else None


class ToldTokens:
    """The likelihoods of an answer's tokens, each handed out when its text is."""

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts
        self._data = b""
        self._waiting: list[TokenLikelihood] = []

    def feed(self, token: int, told: TokenLogprobs) -> None:
        """A token that arrived; special ones are no part of the text."""
        if not self._texts.is_shown(token):
            return
        text, data = self._texts.of(token)
        # A character that is not whole yet begins where it will be.
        offset = len(self._data.decode(errors="ignore"))
        others = [TokenLikelihood(*self._texts.of(other), value) for other, value in told.likeliest]
        self._waiting.append(TokenLikelihood(text, data, told.logprob, offset, others))
        self._data += text.encode() if data is None else data

    def released(self, characters: int | None) -> Sequence[TokenLikelihood]:
        """Those that begin within so many characters of the answer; None: all that are left."""
        count = sum(characters is None or each.offset < characters for each in self._waiting)
        told, self._waiting = self._waiting[:count], self._waiting[count:]
        return told


@cache
def _byte_of_letter() -> dict[str, int]:
    """The byte of each letter by which byte-level tokenizers call it."""
    return {letter: byte for byte, letter in bytes_to_unicode().items()}
