"""Prompts of ids, and answers of ids, over whatever generates tokens: this side has no tokenizer.

An answer has `token_ids` and an empty text. The names of fields beyond OpenAI's (`token_ids`, `stop_token_ids`,
`max_model_len`) are vLLM's, and so are the names of tokens where a format has room for texts alone (`token_id:7`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from secure.http.backend import AnswerPiece, Backend, TokenLikelihood
from secure.http.openai_requests import Wishes
from secure.parties.encrypted.tokens import (
    GeneratedPieces,
    Pieces,
    SamplingParameters,
    TokenGenerator,
    TokenPieces,
)

TOKEN_NAME = "token_id:"


class IdsBackend(Backend):
    """Ids straight through."""

    def __init__(
        self,
        tokens: TokenGenerator,
        name: str,
        about: Mapping[str, Any],
        *,
        check: Callable[[Mapping[str, str]], None],
        check_prompt: Callable[[Sequence[int], SamplingParameters], None],
    ) -> None:
        """check: as in Backend. check_prompt: raises InputError for one that is wrong, before any is computed."""
        super().__init__([name], about, takes_text=False)
        self._tokens = tokens
        self._check = check
        self._check_prompt = check_prompt

    def check(self, headers: Mapping[str, str]) -> None:
        self._check(headers)

    def prompt(self, prompt: str | list[int], wishes: Wishes) -> list[int]:
        ids = super().prompt(prompt, wishes)
        self._check_prompt(ids, wishes.sampling(1, wishes.stop_ids))
        return ids

    def answer(self, ids: list[int], wishes: Wishes, *, at_once: bool) -> Pieces[AnswerPiece]:
        pieces = self._tokens.generate(ids, wishes.sampling(1, wishes.stop_ids), at_once=at_once)
        return GeneratedPieces(_answers(pieces), pieces.close)

    def close(self) -> None:
        self._tokens.close()


def _answers(pieces: TokenPieces) -> Generator[AnswerPiece, None, None]:
    for piece in pieces:
        told = [
            TokenLikelihood(_named(token), None, each.logprob, likeliest=[_likely(*other) for other in each.likeliest])
            for token, each in zip(piece.ids, piece.logprobs, strict=False)
        ]
        yield AnswerPiece(token_ids=piece.ids, tokens=len(piece.ids), finish=piece.finish, logprobs=told)


def _likely(token: int, logprob: float) -> TokenLikelihood:
    return TokenLikelihood(_named(token), None, logprob)


def _named(token: int) -> str:
    return f"{TOKEN_NAME}{token}"
