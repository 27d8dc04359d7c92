"""What passes between a client and whatever runs its checkpoint, counted, and the report of a call."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from secure.ee.client.budget import BudgetedRunner, TokenBudget
from secure.models.storage.capacity import human_bytes
from secure.parties.client.receipt import SessionReceipt
from secure.parties.encrypted.engine import EncoderInputs, HiddenSequence, Pooling
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.tokens import ContextRoom, GeneratedPieces, SamplingParameters, TokenPiece, TokenPieces
from secure.protocols.core.errors import SessionError
from secure.report.receipt import Receipt

_ID_BYTES = 4
_LOGPROB_BYTES = 4


@dataclass(frozen=True)
class EncryptedReport:
    """The cost of one call of an encrypted model, by the names of `secure.Report`. `print` shows it.

    seconds: at the client. sessions: requests that the call was split into. sequences: inputs. tokens: ids and
    positions that went out, without padding. Bytes are payload, before gRPC and TLS add their frames: 4 for an id, and
    those of hidden states, logits and pixels.
    """

    seconds: float
    sessions: int
    sequences: int
    tokens: int
    input_bytes: int
    """Sent by the client."""
    output_bytes: int
    """Received by the client."""
    budget: TokenBudget
    """What has passed under the key and epoch so far, this call included, and what may."""
    receipt: Receipt | None = field(default=None, compare=False, repr=False)
    """What the server signed of every request, or of every sequence of split mode. None where the model runs in this
    process, and where this side ended a request before its answer had come."""

    def __str__(self) -> str:
        sequences = "1 sequence" if self.sequences == 1 else f"{self.sequences} sequences"
        requests = "1 request" if self.sessions == 1 else f"{self.sessions} requests"
        return (
            f"Input    {sequences} in {requests}, {self.tokens} tokens\n"
            f"Seconds  {self.seconds:.3f}\n"
            f"Client   {human_bytes(self.input_bytes)} sent, {human_bytes(self.output_bytes)} received\n"
            f"Budget   {self.budget}"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows for a report at the end of a cell."""
        return f"<pre>{self}</pre>"


class CountedRunner(Runner):
    """A runner whose traffic is counted. After `close` every call raises SessionError, and nothing holds the runner."""

    def __init__(self, runner: BudgetedRunner, receipts: list[SessionReceipt]) -> None:
        """receipts: where the runner puts what its server signs of each request."""
        self._receipts = receipts
        self._open: BudgetedRunner | None = runner
        self._budget = runner.budget
        self.begin(0)

    def begin(self, sequences: int) -> None:
        """Count from zero for a call with so many inputs."""
        self._started = time.monotonic()
        self._sequences = sequences
        self._receipts.clear()
        self._requests = self._tokens = self._sent = self._received = 0

    def report(self) -> EncryptedReport:
        """What has passed since `begin`."""
        seconds = time.monotonic() - self._started
        if self._open is not None:
            self._budget = self._open.budget
        return EncryptedReport(
            seconds,
            self._requests,
            self._sequences,
            self._tokens,
            self._sent,
            self._received,
            self._budget,
            Receipt(tuple(self._receipts)) if 0 < self._requests == len(self._receipts) else None,
        )

    def room(self) -> ContextRoom:
        return self._runner.room()

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        self._requests += 1
        self.count(len(ids), _ID_BYTES * (len(ids) + len(sampling.stop_ids)))
        pieces = self._runner.generate(ids, sampling, at_once=at_once)
        return GeneratedPieces(self._counted(pieces), pieces.close)

    def embed(self, inputs: EncoderInputs, pooling: Pooling = "mean") -> Tensor:
        self._ask(inputs)
        return self._answered(self._runner.embed(inputs, pooling))

    def classify(self, inputs: EncoderInputs) -> Tensor:
        self._ask(inputs)
        return self._answered(self._runner.classify(inputs))

    @contextmanager
    def sequence(self) -> Iterator[HiddenSequence]:
        self._requests += 1
        with self._runner.sequence() as sequence:
            yield _CountedSequence(self, sequence)

    def close(self) -> None:
        runner, self._open = self._open, None
        if runner is not None:
            runner.close()

    @property
    def _runner(self) -> BudgetedRunner:
        if self._open is None:
            raise SessionError("the model is unloaded; open it again with from_pretrained")
        return self._open

    def count(self, tokens: int, sent: int = 0, received: int = 0) -> None:
        """Add what passed: tokens and bytes that went out, bytes that came back."""
        self._tokens += tokens
        self._sent += sent
        self._received += received

    def _counted(self, pieces: TokenPieces) -> Generator[TokenPiece, None, None]:
        for piece in pieces:
            told = sum(_LOGPROB_BYTES + (_ID_BYTES + _LOGPROB_BYTES) * len(each.likeliest) for each in piece.logprobs)
            self.count(0, received=_ID_BYTES * len(piece.ids) + told)
            yield piece

    def _ask(self, inputs: EncoderInputs) -> None:
        self._requests += 1
        ids, kinds = (sum(map(len, rows or ())) for rows in (inputs.rows, inputs.token_types))
        self.count(ids, _ID_BYTES * (ids + kinds) + (0 if inputs.pixels is None else inputs.pixels.nbytes))

    def _answered(self, answer: Tensor) -> Tensor:
        self.count(0, received=answer.nbytes)
        return answer


class _CountedSequence(HiddenSequence):
    def __init__(self, counter: CountedRunner, sequence: HiddenSequence) -> None:
        self._counter = counter
        self._sequence = sequence

    def extend(self, embeddings: Tensor) -> Tensor:
        hidden = self._sequence.extend(embeddings)
        self._counter.count(len(embeddings), embeddings.nbytes, hidden.nbytes)
        return hidden
