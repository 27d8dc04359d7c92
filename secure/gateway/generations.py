"""Answers of many callers in few sessions: requests of one shape that arrive while others run go out as one batch.

A step takes about as long for eight rows as for one, as its rounds are the same. There is no timer: a request whose
shape no session has begins at once. Two requests are of one shape when the tokens of their prompts, and the tokens that
they ask for, round up to the same powers of two: so no row is padded to more than twice its length, and none stays in a
batch for more than twice its steps.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import torch
from torch import Tensor

from secure.api import PrivateModel
from secure.gateway.ledger import SessionLedger
from secure.generation.token_draw import TokenDraw, logprobs_of
from secure.http.callers import Asked, asked
from secure.parties.encrypted.tokens import (
    ContextRoom,
    Finish,
    GeneratedPieces,
    SamplingParameters,
    TokenGenerator,
    TokenLogprobs,
    TokenPiece,
    TokenPieces,
)
from secure.parties.session.fair_queue import FairQueue
from secure.protocols.core.errors import SessionError
from secure.tokens import check_rows, most_batch_tokens

SESSIONS_AT_A_TIME = 2
"""Sessions of one shape: a second caller does not wait for a long answer of the first one, and on a line with long
delays one session computes while another one waits for messages."""
Shape = tuple[int, int]


@dataclass
class _AnswerRow:
    """One answer at work. Pieces go in as its tokens are drawn; whoever reads takes them out."""

    ids: Sequence[int]
    sampling: SamplingParameters
    ends: frozenset[int]
    request: Asked
    arrived: queue.SimpleQueue[TokenPiece | Exception] = field(default_factory=queue.SimpleQueue)
    over: bool = False
    """Whether it takes no token any more: it has its end, or nobody reads it."""

    def __post_init__(self) -> None:
        self.draw = TokenDraw(self.sampling)
        self._left = self.sampling.max_new_tokens

    @property
    def shape(self) -> Shape:
        return _rounded(len(self.ids)), _rounded(self.sampling.max_new_tokens)

    def take(self, token: int, told: list[TokenLogprobs]) -> None:
        """One more token; none is taken after the end."""
        if self.over:
            return
        self._left -= 1
        ended = token in self.ends
        self.over = ended or self._left == 0
        finish: Finish | None = "stop" if ended else "length" if self.over else None
        self.arrived.put(TokenPiece([token], finish, told))

    def leave(self) -> None:
        """Nobody reads any more: `pieces` ends, and the row is padded as long as others of its batch go on."""
        self.over = True
        self.arrived.put(SessionError("nobody reads this answer any more"))

    def pieces(self) -> Generator[TokenPiece, None, None]:
        """Each token as it is drawn. Raises what its session did."""
        while True:
            piece = self.arrived.get()
            if isinstance(piece, Exception):
                raise piece
            yield piece
            if piece.finish is not None:
                return


class PrivateTokens(TokenGenerator):
    """Tokens for the endpoints in OpenAI's format, made by a model that the parties hold in shares."""

    def __init__(
        self,
        model: PrivateModel,
        positions: int,
        vocabulary: int,
        *,
        most_rows: int,
        ledger: SessionLedger | None = None,
    ) -> None:
        """model: one that generates. positions: of prompt and answer together. most_rows: answers in one session."""
        self._model = model
        self._positions = positions
        self._vocabulary = vocabulary
        self._most_rows = most_rows
        self._most_tokens = most_batch_tokens(1 if model.manifest.weights == "public" else vocabulary)
        self._ends = frozenset(model.eos_token_ids)
        self._ledger = ledger or SessionLedger()
        self._lock = threading.Lock()
        self._waiting: dict[Shape, FairQueue[str, _AnswerRow]] = {}
        self._running: dict[Shape, int] = {}
        self._closed = False

    def room(self) -> ContextRoom:
        return ContextRoom(self._positions)

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        check_rows([ids], limit=self._positions, vocabulary=self._vocabulary)
        row = _AnswerRow(ids, sampling, self._ends.union(sampling.stop_ids), asked())
        with self._lock:
            if self._closed:
                raise SessionError("the gateway is stopping")
            self._waiting.setdefault(row.shape, FairQueue()).put(row.request.caller.name, row)
            if self._running.get(row.shape, 0) < SESSIONS_AT_A_TIME:
                self._running[row.shape] = self._running.get(row.shape, 0) + 1
                threading.Thread(target=self._work, args=(row.shape,), name="generation", daemon=True).start()
        pieces = row.pieces()
        return GeneratedPieces(_joined(pieces) if at_once else pieces, row.leave)

    def close(self) -> None:
        """Refuse whoever waits. Sessions that run end with their next token; whoever loaded the model unloads it."""
        with self._lock:
            self._closed = True
            waiting = [row for rows in self._waiting.values() for row in rows.clear()]
        for row in waiting:
            row.arrived.put(SessionError("the gateway is stopping"))

    def _work(self, shape: Shape) -> None:
        """Sessions of one shape, one after another, as long as somebody waits for one."""
        while batch := self._next(shape):
            try:
                with self._ledger.session({row.request.caller.name for row in batch}, len(batch)) as number:
                    for row in batch:
                        row.request.sessions.append(number)
                    self._serve(batch)
            except Exception as error:
                for row in batch:
                    if not row.over:
                        row.arrived.put(error)

    def _next(self, shape: Shape) -> list[_AnswerRow]:
        with self._lock:
            waiting = self._waiting[shape]
            while len(waiting):
                batch = [row for row in waiting.take(self._fits) if not row.over]
                if batch:
                    return batch
            self._running[shape] -= 1
            if not self._running[shape]:
                del self._running[shape], self._waiting[shape]
            return []

    def _fits(self, taken: list[_AnswerRow], row: _AnswerRow) -> bool:
        rows = [*taken, row]
        longest = max(len(each.ids) for each in rows)
        room = longest + max(each.sampling.max_new_tokens for each in rows) <= self._positions
        return not taken or (len(rows) <= self._most_rows and len(rows) * longest <= self._most_tokens and room)

    def _serve(self, batch: Sequence[_AnswerRow]) -> None:
        """One session. It ends early where every row has its end, or nobody reads any more."""
        draws = _Draws(batch, next(iter(self._ends), 0))
        ids, mask = _padded([row.ids for row in batch])
        tokens: Generator[Tensor, None, None] = self._model.stream(  # type: ignore[assignment] # what it returns
            ids,
            mask,
            max_new_tokens=max(row.sampling.max_new_tokens for row in batch),
            do_sample=False,
            logits_processor=[draws],
            progress=False,
        )
        with closing(tokens):
            for column in tokens:
                for row, token, told in zip(batch, column.flatten().tolist(), draws.told, strict=True):
                    row.take(token, told)
                if self._closed:
                    raise SessionError("the gateway is stopping")
                if all(row.over for row in batch):
                    return


class _Draws:
    """What chooses every row's token, in place of the model's own ways: from a generator of its request alone.

    `told` is of the last tokens, by row, where its request asks for it.
    """

    def __init__(self, rows: Sequence[_AnswerRow], padding: int) -> None:
        """padding: what rows that are over go on with."""
        self._rows = rows
        self._padding = padding
        self.told: list[list[TokenLogprobs]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores by which nothing but the tokens drawn can follow. Shapes: [B, T], [B, V] -> [B, V]."""
        tokens, self.told = [], []
        for row, own in zip(self._rows, scores, strict=True):
            token = self._padding if row.over else int(row.draw(own.unsqueeze(0)))
            count = None if row.over else row.sampling.logprobs
            self.told.append([] if count is None else [logprobs_of(own, token, count)])
            tokens.append(token)
        return torch.full_like(scores, -torch.inf).scatter(1, torch.tensor(tokens).unsqueeze(1), 0.0)


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
    """Prompts of one length, padded at their start, and what counts of them; None where all of it does.

    Shapes: -> int64 [B, T], [B, T].
    """
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
    if all(len(row) == longest for row in rows):
        return ids, None
    return ids, torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])


def _rounded(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def _joined(pieces: Iterator[TokenPiece]) -> Generator[TokenPiece, None, None]:
    """All of it in one piece at the end."""
    parts = list(pieces)
    ids, told = [id for part in parts for id in part.ids], [each for part in parts for each in part.logprobs]
    yield TokenPiece(ids, parts[-1].finish, told)
