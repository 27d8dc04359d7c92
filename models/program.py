"""The two programs that every role runs in lockstep: loading a model, and a session with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.exchange import due_outputs
from secure.models.contract.manifest import GRAPH, Manifest
from secure.models.contract.network import Network
from secure.models.contract.request import Request
from secure.models.families.registry import architecture
from secure.models.graph.network import GraphNetwork
from secure.protocols.core import factor
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import Keep
from secure.protocols.core.primitives import checked_one_hot, truncate
from secure.protocols.core.secret import Protocol, Secret, SecretSpec, Visibility
from secure.protocols.families import family


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model as one role keeps it between sessions: what the protocol prepared of each parameter."""

    manifest: Manifest
    weights: dict[str, Any] = field(repr=False)


class ClientSteps(ABC):
    """The client as one role sees it in a session. The dealer is told when to go on, and sends nothing."""

    @abstractmethod
    def receive(self, step: int) -> bytes | memoryview | None:
        """The payload of one step, which is empty at the dealer. None when the client wants no more."""

    @abstractmethod
    def send(self, payload: bytes) -> None:
        """A step's output shares, of a party."""


class Nobody(ClientSteps):
    """The client of a program that runs without an input: at the dealer, or at a party before there is one."""

    def receive(self, step: int) -> bytes:
        return b""

    def send(self, payload: bytes) -> None:
        raise ProtocolError("nobody waits for this")


def network(manifest: Manifest) -> Network:
    """The model that a manifest describes. Raises CheckpointError for an unknown architecture or a wrong graph."""
    if manifest.architecture == GRAPH:
        return GraphNetwork(manifest)
    return architecture(manifest.architecture).network(manifest)


def load(
    protocol: Protocol, manifest: Manifest, shares: Mapping[str, Tensor] | None, keep: Keep | None = None
) -> LoadedModel:
    """Prepare every parameter: factors are opened under a mask, once. Each begins a layer, of the same name.

    shares: of what the party's file holds, which is nothing at P0 where P1 alone sees the weights. The dealer has none.
    keep: how matrices are kept, in memory by default.

    Raises CheckpointError, before anything is sent, for a manifest that describes no model.
    """
    weights, keep = {}, keep or partial(factor.prepare, few_rows=network(manifest).few_rows)
    for name, spec in sorted(manifest.parameters.items()):
        share = None if not shares else shares[name].to(torch.int64)
        with protocol.layer("load"):
            weights[name] = protocol.prepare(spec.parameter, share, Visibility(manifest.weights), keep)
    return LoadedModel(manifest, weights)


def serve(protocol: Protocol, model: LoadedModel, request: Request, client: ClientSteps, index: int | None) -> bool:
    """One session at one role. Returns whether the client ended it early.

    index: of the party; None where there is no input: at the dealer, and at a party that works ahead.

    Each step takes the client's shares, checks them, computes, and sends shares of its outputs back. State that a step
    leaves, a cache of keys and values, stays with the role until the session ends. Raises InputError, and sends
    nothing, where the client shared what no client may.
    """
    net, state, ends = network(model.manifest), None, family(model.manifest.protocol)
    for step in range(request.steps):
        payload = client.receive(step)
        if payload is None:
            return True
        specs = net.input_specs(request, step)
        shares = None if index is None else ends.open_payload(index, payload, specs)
        protocol.confirm(() if index is None else ends.held_by_two(index, payload))
        inputs = {
            name: protocol.input(None if shares is None else shares[name], spec.shape, spec.fraction_bits, spec.bits)
            for name, spec in sorted(specs.items())
        }
        with _checked(protocol, model.manifest, inputs, specs):
            outputs, state = net.forward(protocol, model.weights, request, inputs, state)
        due = due_outputs(net, request, step)
        with protocol.layer("reveal"):
            revealed = {name: _reveal(protocol, secret, due[name]) for name, secret in sorted(outputs.items())}
        protocol.end_step()
        if index is not None:
            client.send(ends.pack_shares(revealed, due))
    return False


@contextmanager
def _checked(
    protocol: Protocol, manifest: Manifest, inputs: Mapping[str, Secret], specs: Mapping[str, SecretSpec]
) -> Iterator[None]:
    """Inside the block, or before it, make sure that what is to be one-hot is. Raises InputError where it is not.

    The model's owner may have chosen, in the manifest, that its clients are trusted with that.
    """
    due = {name: spec.one_hot for name, spec in sorted(specs.items()) if spec.one_hot and manifest.checks_one_hot}

    def check() -> None:
        for name, parts in due.items():
            checked_one_hot(inputs[name], parts)

    if not due:
        yield
        return
    with protocol.meanwhile("inputs", check):
        yield


def _reveal(protocol: Protocol, x: Secret, due: SecretSpec) -> Tensor:
    """A share of x for the client, at the scale that is due.

    The last factor's product has twice the policy's fraction bits. Those would tell the client every integer
    combination of the factor's rows exactly, hence its lattice and rank, from as many answers as it has columns.
    """
    rounded = x if x.fraction_bits == due.fraction_bits else truncate(x, due.fraction_bits)
    return protocol.reveal(rounded, due.bits)
