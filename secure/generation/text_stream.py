"""From tokens that arrive one by one to text: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """Decodes a growing list of ids. A character that is spread over several tokens appears with the last of them.

    Only the ids since the last whole character but one are decoded again, so that the cost of a token does not grow.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._known = 0
        """How many of `_ids` have been given out as text. They stay as context: a decoder may drop a leading space."""

    def feed(self, token: int) -> str:
        """The text that became whole with this token."""
        self._ids.append(token)
        return self._advance(final=False)

    def flush(self) -> str:
        """What is left at the end; half a character becomes U+FFFD, as in a decoding of all ids at once."""
        return self._advance(final=True)

    def _advance(self, *, final: bool) -> str:
        before, now = self._decode(self._ids[: self._known]), self._decode(self._ids)
        if len(now) <= len(before) or (now.endswith(_REPLACEMENT) and not final):
            return ""
        self._ids = self._ids[self._known :]
        self._known = len(self._ids)
        return now[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


class StopStrings:
    """Cuts a text before the first stop string that becomes complete, wherever the pieces of the text end.

    Of two that become complete with the same character, the longer one counts.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False
        """Whether one was found; nothing follows then."""

    def feed(self, text: str) -> str:
        """The text that certainly comes before any stop string."""
        if self.stopped:
            return ""
        text = self._held + text
        matches = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if matches:
            self.stopped = True
            return text[: min(matches)[1]]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return "" if self.stopped else held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
