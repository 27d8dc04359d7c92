"""A client whose parties compute in the clear: for tests of what the client does with their answers.

The messages are those of a real session, in size and form, and the numbers are those of the reference. Nothing is
hidden and no round is made, so a test of what a checkpoint says, or of how tokens are chosen, costs a fraction of the
same test on shares. What is computed on shares, and what that costs, needs `tests.secure.fakes.InProcessClient`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secure.models import program
from secure.models.checkpoint.conversion import read_share
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.program import LoadedModel
from secure.parties.client.conversation import Costs
from secure.protocols.cleartext.protocol import CleartextProtocol
from secure.protocols.core import ring
from secure.protocols.core.cost import Meter
from secure.protocols.core.secret import SecretSpec
from secure.protocols.families import family
from tests.secure.fakes import InProcessClient, Watch, costs_of

ROLES = ("p0", "p1", "dealer")


class ClearClient(InProcessClient):
    """Of the family with two computing parties."""

    def load_model(self, manifest: Manifest, shares: Mapping[str, Path] | None = None, progress: Watch = None) -> None:
        self.uploaded.append(shares)
        assert shares is not None, "nobody serves a folder of its own here"
        held = [read_share(shares[role], manifest, role) for role in ("p0", "p1")]
        private = manifest.weights == "private"
        tensors = {
            name: ring.signed(held[0][name].to(torch.int64) + held[1][name].to(torch.int64), spec.parameter.bits)
            if private
            else held[1][name].to(torch.int64)
            for name, spec in manifest.parameters.items()
        }
        protocol = CleartextProtocol(manifest.policy)
        self.models[manifest.digest] = {"p0": program.load(protocol, manifest, tensors)}

    @contextmanager
    def converse(
        self, model_digest: str, policy_digest: str, request: Request, steps: int, progress: Watch = None
    ) -> Iterator[Any]:
        self.requests.append(request)
        yield ClearConversation(self.models[model_digest]["p0"], request)


class ClearConversation:
    """One session, step by step."""

    def __init__(self, model: LoadedModel, request: Request) -> None:
        self._model, self._request = model, request
        self._network = program.network(model.manifest)
        self._family = family(model.manifest.protocol)
        self._protocol = CleartextProtocol(model.manifest.policy)
        self._state: Any = None
        self._step = 0
        self._exchanged: list[tuple[tuple[bytes, ...], tuple[bytes, ...]]] = []

    def step(self, payloads: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """What the two parties would answer: the outputs, and zeros."""
        specs = self._network.input_specs(self._request, self._step)
        due = self._network.output_specs(self._request, self._step)
        self._step += 1
        given = [self._family.open_payload(index, payload, specs) for index, payload in enumerate(payloads)]
        inputs = {
            name: self._protocol.input(
                ring.signed(given[0][name] + given[1][name], spec.bits), spec.shape, spec.fraction_bits
            )
            for name, spec in sorted(specs.items())
        }
        outputs, self._state = self._network.forward(
            self._protocol, self._model.weights, self._request, inputs, self._state
        )
        revealed = {name: _at_scale(self._protocol.value(x), due[name]) for name, x in outputs.items()}
        nothing = {name: torch.zeros_like(x) for name, x in revealed.items()}
        answers = self._family.pack_shares(revealed, due), self._family.pack_shares(nothing, due)
        self._exchanged.append((payloads, answers))
        return answers

    @property
    def costs(self) -> Costs:
        return costs_of(self._exchanged, dict.fromkeys(ROLES, Meter()))


def _at_scale(value: Tensor, due: SecretSpec) -> Tensor:
    return torch.round(value * 2.0**due.fraction_bits).to(torch.int64)
