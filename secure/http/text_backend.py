"""Texts and chats over whatever generates tokens: the model's tokenizer and chat template before, decoding after."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from jinja2 import TemplateError

from secure.generation.text_stream import StopStrings, TextStream
from secure.http.backend import AnswerPiece, Backend
from secure.http.openai_errors import RequestRefused
from secure.http.openai_requests import Wishes
from secure.http.token_texts import TokenTexts, ToldTokens
from secure.parties.encrypted.tokens import Finish, GeneratedPieces, Pieces, TokenGenerator, TokenPieces
from secure.protocols.core.errors import SessionError

Embed = Callable[[list[list[int]]], Sequence[Sequence[float]]]


class TextBackend(Backend):
    """Text never leaves this process but to its caller; the tokens' generator gets ids."""

    def __init__(
        self,
        tokenizer: Any,
        tokens: TokenGenerator | None,
        names: Sequence[str],
        embed: Embed | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """tokenizer: of transformers, with the ids that `tokens` takes and gives.

        For a model that generates nothing there is `embed`, from rows of ids to a vector for each, and no `tokens`.
        names, about: as for every backend.
        """
        super().__init__(names, about, takes_text=True, embeds=embed is not None)
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._embed = embed

    def prompt(self, prompt: str | list[int], wishes: Wishes) -> list[int]:
        """The ids of a prompt, a text's with the special tokens that the tokenizer puts round it."""
        if not isinstance(prompt, str):
            return prompt
        ids: list[int] = self._tokenizer(prompt, verbose=False)["input_ids"]
        if not ids:
            raise RequestRefused("the prompt has no tokens", param="prompt", code="invalid_value")
        return ids

    def chat(self, messages: list[dict[str, str]]) -> list[int]:
        """The ids of a chat, by the model's own template."""
        if not self._tokenizer.chat_template:
            raise RequestRefused("this model has no chat template; use /v1/completions", code="no_chat_template")
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            # To the caller alone, whose messages they are: templates tell which roles they take, in which order.
            raise RequestRefused(
                f"the model's chat template refuses these messages: {error}", param="messages"
            ) from None
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def answer(self, ids: list[int], wishes: Wishes, *, at_once: bool) -> Pieces[AnswerPiece]:
        """Text as it becomes whole. Raises RequestRefused for a prompt that leaves no room, and as Backend says."""
        assert self._tokens is not None, "a model of embeddings has no route that asks for answers"
        limits = self._tokens.room()
        room = limits.context_tokens - len(ids)
        if room < (wishes.max_tokens or 1):
            raise RequestRefused(
                f"the prompt's {len(ids)} tokens and max_tokens {wishes.max_tokens or 1} do not fit; this model has "
                f"room for {limits.context_tokens} together",
                code="context_length_exceeded",
            )
        # A request that names no number gets what is left; one that does is refused where there is less.
        left = room if limits.budget_tokens is None else limits.budget_tokens - len(ids)
        sampling = wishes.sampling(max(1, min(room, limits.most_new_tokens or room, left)), wishes.stop_ids)
        # With stop strings tokens must come one by one: what follows such a string need not be computed.
        pieces = self._tokens.generate(ids, sampling, at_once=at_once and not wishes.stop)
        told = None if sampling.logprobs is None else ToldTokens(TokenTexts(self._tokenizer))
        return GeneratedPieces(self._texts(pieces, wishes.stop, sampling.max_new_tokens, told), pieces.close)

    def embed(self, rows: list[list[int]]) -> Sequence[Sequence[float]]:
        return super().embed(rows) if self._embed is None else self._embed(rows)

    def close(self) -> None:
        if self._tokens is not None:
            self._tokens.close()

    def _texts(
        self, pieces: TokenPieces, stop_strings: Sequence[str], most: int, told: ToldTokens | None
    ) -> Generator[AnswerPiece, None, None]:
        decoder, stops = TextStream(self._tokenizer), StopStrings(stop_strings)
        total, given, finish = 0, 0, None

        def piece_of(text: str, tokens: int = 0, finish: Finish | None = None) -> AnswerPiece:
            nonlocal given
            given += len(text)
            everything = finish is not None and not stops.stopped
            likelihoods = () if told is None else told.released(None if everything else given)
            return AnswerPiece(text, tokens=tokens, finish=finish, logprobs=likelihoods)

        for piece in pieces:
            finish = piece.finish or finish
            text, count = "", 0
            if told is not None and len(piece.logprobs) != len(piece.ids):
                raise SessionError("the backend tells no log probabilities, which were asked for")
            for token, likelihood in zip_longest(piece.ids, piece.logprobs):
                count += 1
                if told is not None:
                    told.feed(token, likelihood)
                text += stops.feed(decoder.feed(token))
                if stops.stopped:
                    yield piece_of(text, count, "stop")
                    return
            total += count
            if total > most:
                raise SessionError("the backend sent more tokens than were asked for")
            yield piece_of(text, count)
        text = stops.feed(decoder.flush()) + stops.flush()
        ended: Finish = "stop" if stops.stopped else finish or "length"
        yield piece_of(text, finish=ended)
