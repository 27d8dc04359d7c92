"""A model that the parties hold, and sessions with it: what every kind of model has in common at the client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor

from secure.client_model import ClientModel
from secure.connection import Parties
from secure.loading import Loaded
from secure.models.checking import check_ranges
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.network import Inputs, Network
from secure.models.contract.rehearsal import RangeCheck
from secure.models.contract.request import Output, Request
from secure.models.program import network
from secure.parties.client.client import Client
from secure.parties.client.conversation import Costs
from secure.precomputing import Precomputed, precompute
from secure.progress import LayerBar, layer_bar
from secure.protocols.core.errors import ConfigurationError, InputError
from secure.protocols.families import family
from secure.report.report import Report


class ResidentModel(ClientModel):
    """One model at the parties. It stays in their memory until `unload`, which the end of a `with` block calls, too."""

    def __init__(self, load: Callable[..., Loaded], parties: Parties, progress: bool | None = None) -> None:
        """load: has the parties hold the model; its one argument, by name, is `progress`: show what is going on."""
        self._load = load
        self._parties = parties
        self._report: Report | None = None
        self._heeding: list[Callable[[Report], None]] = []
        self._have(load(progress=progress))

    def _have(self, loaded: Loaded) -> None:
        self.manifest = loaded.manifest
        self.load_seconds = loaded.load_seconds
        self._network = network(loaded.manifest)
        self._tables = loaded.tables
        self._labels = loaded.labels
        self._checkpoint = loaded.checkpoint

    @property
    def network(self) -> Network:
        """What the model is: its shapes, and what it takes and gives."""
        return self._network

    @property
    def report(self) -> Report:
        """What the last call cost. Raises InputError before the first one."""
        if self._report is None:
            raise InputError("there is no report yet: make a prediction first")
        return self._report

    def heed_reports(self, heed: Callable[[Report], None]) -> None:
        """Have every call's report given to `heed`, too, in the thread that made the call."""
        self._heeding.append(heed)

    def health(self, timeout_seconds: float = 5.0) -> dict[str, str]:
        """Role → "serving", or why it does not answer. Empty where the parties are none that can be asked."""
        client = self._parties.client
        return client.health(timeout_seconds) if isinstance(client, Client) else {}

    def _keep(self, report: Report) -> None:
        self._report = report
        for heed in self._heeding:
            heed(report)

    def _check(self, inputs: Inputs) -> RangeCheck:
        """The model on these inputs in the clear, here, if its weights are here."""
        if self._checkpoint is None:
            raise InputError(
                "the weights of this model are not here: it was loaded from a split folder. Its owner checks it with "
                "secure.check"
            )
        return check_ranges(self._checkpoint, inputs)

    def unload(self) -> None:
        """Free the model's memory at all parties."""
        self._parties.client.unload_model(self.manifest.digest)

    def precompute(self, count: int = 1, *, tokens: int | None = None, batch: int = 1) -> Precomputed:
        """Have the parties make ahead, for their stocks, what so many predictions take before their input.

        tokens, batch: of each of them, where the model takes tokens; without padding.

        Of protocol "hybrid" alone, on the client's host, which has p0's certificate, too. See
        `secure.precomputing.precompute` for errors.
        """
        client = self._parties.client
        if not isinstance(client, Client):
            raise ConfigurationError("this client knows of no parties.toml; there is nobody to make something ahead")
        return precompute(client.settings, self.manifest, count, tokens=tokens, batch=batch)

    def reload(self, *, progress: bool | None = None) -> None:
        """Load the model again, from where it came from: its folder, or the module as it is now.

        After a party was restarted, which no longer holds what was uploaded to it. A checkpoint or a module is shared
        anew, so `manifest` is another one; a model that the parties have on their disks needs no reload. progress: as
        for loading.

        Raises what loading it does.
        """
        self.unload()  # those who were not restarted make room
        self._have(self._load(progress=progress))

    def _session(
        self,
        output: Output,
        inputs: Inputs,
        bar: LayerBar,
    ) -> tuple[dict[str, Tensor], Report]:
        """One prediction: encode, share, let the parties compute, reconstruct, decode."""
        request = self._network.request(output, inputs)
        payloads = input_payloads(self._network, request, inputs, self._tables)
        prediction = self._parties.client.predict(*self._digests, request, payloads, bar.watch)
        bar.session_done()
        outputs = step_outputs(self._network, request, prediction.payloads)
        return outputs, self._report_of(request, prediction.costs, request.tokens)

    def _report_of(self, request: Request, costs: Costs, tokens: int) -> Report:
        """tokens: of each row that the session took in."""
        manifest = self.manifest
        return Report.of_session(
            costs,
            load_seconds=self.load_seconds,
            sequences=request.batch,
            tokens=request.batch * tokens,
            unchecked_one_hot=manifest.weights != "public"
            and not (manifest.checks_one_hot and family(manifest.protocol).checks_one_hot),
        )

    @property
    def _digests(self) -> tuple[str, str]:
        return self.manifest.digest, self.manifest.policy.digest()

    def _bar(self, sessions: int, progress: bool | None) -> AbstractContextManager[LayerBar]:
        return layer_bar(sessions, self._network.layers, progress)
