"""A model that the parties hold, and sessions with it: what every kind of model has in common at the client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from secure.connection import Parties
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.manifest import Manifest
from secure.models.contract.network import Inputs
from secure.models.contract.request import Output, Request
from secure.models.program import network
from secure.parties.client.conversation import Costs
from secure.progress import LayerBar, layer_bar
from secure.protocols.core.errors import CheckpointError, InputError, SessionError
from secure.report.report import Report
from secure.split import share_files


class ResidentModel:
    """One model at the parties. It stays in their memory until `unload`, which the end of a `with` block calls, too."""

    def __init__(
        self, manifest: Manifest, parties: Parties, *, embeddings: Mapping[str, Tensor], load_seconds: float
    ) -> None:
        """For a model that is loaded already. embeddings: with public weights, the tables that the client looks up."""
        self.manifest = manifest
        self.load_seconds = load_seconds
        self._network = network(manifest)
        self._parties = parties
        self._embeddings = embeddings
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """What the last call cost. Raises InputError before the first one."""
        if self._report is None:
            raise InputError("there is no report yet: make a prediction first")
        return self._report

    def unload(self) -> None:
        """Free the model's memory at all parties."""
        self._parties.client.unload_model(self.manifest.digest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an error the parties may be gone, which that error says better than a second one.
        with suppress(SessionError) if error is not None else nullcontext():
            self.unload()

    def _session(
        self,
        output: Output,
        inputs: Inputs,
        bar: LayerBar,
    ) -> tuple[dict[str, Tensor], Report]:
        """One prediction: encode, share, let the parties compute, reconstruct, decode."""
        request = self._network.request(output, inputs)
        payloads = input_payloads(self._network, request, inputs, self._embeddings)
        prediction = self._parties.client.predict(*self._digests, request, payloads, bar.watch)
        bar.session_done()
        outputs = step_outputs(self._network, request, prediction.payloads)
        return outputs, self._report_of(request, prediction.costs, request.tokens)

    def _report_of(self, request: Request, costs: Costs, tokens: int) -> Report:
        """tokens: of each row that the session took in."""
        return Report.of_session(
            costs, load_seconds=self.load_seconds, sequences=request.batch, tokens=request.batch * tokens
        )

    @property
    def _digests(self) -> tuple[str, str]:
        return self.manifest.digest, self.manifest.policy.digest()

    def _bar(self, sessions: int, progress: bool | None) -> AbstractContextManager[LayerBar]:
        return layer_bar(sessions, self._network.layers, progress)


def load_model(
    parties: Parties, manifest: Manifest, shares: Mapping[str, Path] | None, progress: bool | None = None
) -> float:
    """Make the model resident at the parties, tensor by tensor. Returns the seconds that it took."""
    started = time.monotonic()
    with layer_bar(1, len(manifest.parameters), progress) as bar:
        parties.client.load_model(manifest, shares, bar.watch)
    return time.monotonic() - started


def load_split(parties: Parties, manifest: Manifest, folder: Path, progress: bool | None = None) -> float:
    """As `load_model`, for a split folder. Where it lacks the share files, each party serves its own."""
    shares = share_files(folder, manifest.protocol)
    try:
        return load_model(parties, manifest, shares, progress)
    except CheckpointError as error:
        if shares is None:
            raise
        raise CheckpointError(f"{folder}: {error}") from None  # a party does not know where an upload is from
