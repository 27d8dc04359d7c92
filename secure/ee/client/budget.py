"""The budget of tokens that a claim allows under one key and epoch: counted before anything is sent, and kept.

What goes out and what may come back is counted together: a prompt with as many new tokens as were asked for. Those
that an answer did not need are given back when it ends by itself. An answer that is cut off keeps what was asked for,
as this side cannot know how much of it was made. Images have no ids to be counted.

At half the budget a warning is logged. When a request does not fit any more it is refused; or, where that helps, a new
vocabulary is taken: what opened the model goes on with its own ids, which are turned into those of the new one here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from secure.ee.client.ledger import TokenLedger
from secure.ee.client.next_epoch import NextEpochs
from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.parties.encrypted.engine import EncoderInputs, HiddenSequence, Pooling
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.tokens import ContextRoom, GeneratedPieces, SamplingParameters, TokenPiece, TokenPieces
from secure.protocols.core.errors import BudgetSpent, InputError, SessionError

OnBudget = Literal["refuse", "rekey"]
"""What happens when the budget is spent."""
_LOG = logging.getLogger("secure.ee")


@dataclass(frozen=True)
class TokenBudget:
    """How many tokens have passed under a key and epoch, and how many may; limit None: the claim has no figure."""

    epoch: int
    tokens: int
    limit: int | None

    def __str__(self) -> str:
        of = "" if self.limit is None else f" of {self.limit:,}"
        return f"{self.tokens:,}{of} tokens under this key's vocabulary {self.epoch}"


class BudgetedRunner(Runner):
    """A runner to which nothing goes that was not counted before."""

    def __init__(
        self,
        checkpoint: OpenedCheckpoint,
        run: Callable[[OpenedCheckpoint], Runner],
        limit: int | None,
        epochs: NextEpochs | None = None,
    ) -> None:
        """checkpoint: whose ids are given and taken. run: what runs one. limit: the claim's; None counts only.

        epochs: the vocabularies that are taken when one is spent; None refuses.

        Raises ConfigurationError when the count cannot be kept, and what `run` raises.
        """
        self._opened = checkpoint
        self._run = run
        self._limit = limit
        self._epochs = epochs
        self._lock = threading.Lock()
        self._warned: str | None = None
        self._now = self._begun(checkpoint if epochs is None else epochs.latest())

    @property
    def budget(self) -> TokenBudget:
        """The state of the epoch that is in use. Raises ConfigurationError."""
        key = self._now.checkpoint.key
        return TokenBudget(key.epoch, self._now.ledger.tokens, self._limit)

    def room(self) -> ContextRoom:
        room = self._now.runner.room()
        if self._limit is None:
            return room
        left = max(self._limit - self._now.ledger.tokens, 0)
        if self._epochs is not None and left < self._limit / 2:
            left = self._limit
        return replace(room, budget_tokens=left)

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        asked = len(ids) + sampling.max_new_tokens
        epoch = self._spend(asked)
        with ExitStack() as stack:
            stack.callback(epoch.leave)
            row, stop_ids = self._translated([ids, sampling.stop_ids], self._opened, epoch.checkpoint)
            pieces = epoch.runner.generate(row, replace(sampling, stop_ids=tuple(stop_ids)), at_once=at_once)
            stack.callback(pieces.close)
            ending = stack.pop_all()
        return GeneratedPieces(self._counted(epoch, pieces, sampling.max_new_tokens, ending), ending.close)

    def embed(self, inputs: EncoderInputs, pooling: Pooling = "mean") -> Tensor:
        with self._spent_on(inputs) as (runner, moved):
            return runner.embed(moved, pooling)

    def classify(self, inputs: EncoderInputs) -> Tensor:
        with self._spent_on(inputs) as (runner, moved):
            return runner.classify(moved)

    @contextmanager
    def sequence(self) -> Iterator[HiddenSequence]:
        # Only a whole checkpoint is rekeyed, and only the layers of one that is split have sequences.
        with self._now.runner.sequence() as sequence:
            yield _CountedPositions(sequence, self._spend_positions)

    def close(self) -> None:
        self._now.runner.close()

    def _spend(self, tokens: int) -> _Epoch:
        """Count tokens, and enter the epoch that they may be sent under. Raises BudgetSpent."""
        with self._lock:
            if self._epochs is not None and self._limit is not None and self._now.ledger.tokens + tokens > self._limit:
                if tokens > self._limit:
                    raise BudgetSpent(self._spent(tokens))
                spent = self._now
                self._now = self._begun(self._epochs.make(spent.checkpoint))
                spent.retire()
            # Nothing is counted for a server that is away, or has another checkpoint.
            self._now.runner.room()
            if not self._now.ledger.burn(tokens, self._limit):
                raise BudgetSpent(self._spent(tokens))
            self._warn()
            return self._now.enter()

    def _spend_positions(self, tokens: int) -> None:
        self._spend(tokens).leave()

    def _begun(self, checkpoint: OpenedCheckpoint) -> _Epoch:
        # The count first: without it nothing is opened.
        ledger = TokenLedger(checkpoint.key.check_value)
        return _Epoch(checkpoint, ledger, self._run(checkpoint))

    def _warn(self) -> None:
        check_value = self._now.checkpoint.key.check_value
        if self._limit is None or self._warned == check_value or self._now.ledger.tokens * 2 < self._limit:
            return
        self._warned = check_value
        then = "are refused" if self._epochs is None else "take a new one"
        _LOG.warning("half of the budget is spent: %s; requests beyond it %s", self.budget, then)

    def _spent(self, tokens: int) -> str:
        return (
            f"{self.budget} have passed or are at work, and this request may take {tokens:,}: beyond that number "
            "nothing is claimed to be hidden. Ask for fewer new tokens, encrypt under a new key (secure ee rekey moves "
            'the vocabulary alone), or assume "none"'
        )

    @contextmanager
    def _spent_on(self, inputs: EncoderInputs) -> Iterator[tuple[Runner, EncoderInputs]]:
        epoch = self._spend(sum(map(len, inputs.rows)))
        try:
            rows = self._translated(inputs.rows, self._opened, epoch.checkpoint)
            yield epoch.runner, replace(inputs, rows=rows)
        finally:
            epoch.leave()

    def _translated(
        self, rows: Sequence[Sequence[int]], source: OpenedCheckpoint, target: OpenedCheckpoint
    ) -> list[list[int]]:
        """Ids of one epoch as those of another."""
        if source is target or source.vocabulary is None or target.vocabulary is None:
            return [list(row) for row in rows]
        return [target.vocabulary.encrypt_ids(source.vocabulary.decrypt_ids(list(row))) for row in rows]

    def _counted(
        self, epoch: _Epoch, pieces: TokenPieces, asked: int, ending: ExitStack
    ) -> Generator[TokenPiece, None, None]:
        """Pieces in the ids of the opened checkpoint; what a whole answer did not need is given back."""
        came = 0
        with ending:
            for piece in pieces:
                came += len(piece.ids)
                if piece.finish is not None:
                    epoch.ledger.give_back(max(asked - came, 0))
                    asked = came
                try:
                    moved = piece.translated(lambda ids: self._translated([ids], epoch.checkpoint, self._opened)[0])
                except InputError:
                    raise SessionError("the backend sent an id that the model does not have") from None
                yield moved


class _Epoch:
    """One vocabulary in use. Its runner is closed when it is retired and the last request has left."""

    def __init__(self, checkpoint: OpenedCheckpoint, ledger: TokenLedger, runner: Runner) -> None:
        self.checkpoint = checkpoint
        self.ledger = ledger
        self.runner = runner
        self._lock = threading.Lock()
        self._users = 1

    def enter(self) -> _Epoch:
        with self._lock:
            self._users += 1
        return self

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
        self.runner.close()

    retire = leave
    """The one who took it into use leaves."""


class _CountedPositions(HiddenSequence):
    def __init__(self, sequence: HiddenSequence, spend: Callable[[int], None]) -> None:
        self._sequence = sequence
        self._spend = spend

    def extend(self, embeddings: Tensor) -> Tensor:
        self._spend(len(embeddings))
        return self._sequence.extend(embeddings)
