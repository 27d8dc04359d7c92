"""The few verbs over which this family's programs are written: run a gate, lift, add what P1 has."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ConfigurationError, ProtocolError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.hybrid.garbled.circuits import Garbler, Masked, lifted
from secure.protocols.hybrid.gates.garbled_by_client import GarbledByClient
from secure.protocols.hybrid.gates.garbled_by_server import GarbledByServer
from secure.protocols.hybrid.gates.gate import HybridGate, Made
from secure.protocols.hybrid.gates.lifted import Lifted
from secure.protocols.hybrid.gates.transfers import RefillTransfers
from secure.protocols.hybrid.oblivious.pool import Supply
from secure.protocols.hybrid.roles import HybridRole, Maker, StockParty, User
from secure.protocols.hybrid.secret import HybridSecret
from secure.protocols.hybrid.weights import OwnerVector


class HybridVerbs(Protocol):
    """An execution whose secrets are shares of which P0's are known before there is an input."""

    def __init__(
        self, role: HybridRole, policy: FixedPointPolicy, on_layer: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(policy, on_layer)
        if policy.truncation != "probabilistic":
            raise ConfigurationError(
                "protocol 'hybrid' truncates without a message, so up to one unit off: not exactly"
            )
        self.role = role
        self._supplies = Supply(), Supply()
        self.made = Made()
        """What all gates so far declare of their making."""
        self.device = torch.device("cpu" if role.knows_shares else "meta")

    def own(self, x: Secret) -> HybridSecret:
        """Raises ProtocolError for a secret of another protocol or session."""
        if not isinstance(x, HybridSecret) or x.protocol is not self:
            raise ProtocolError("a secret of another protocol or session was passed in")
        return x

    def run(self, gate: HybridGate) -> Tensor:
        """Make or use one gate, and before it what provides the transfers that it draws."""
        for sender, count in enumerate(gate.transfers):
            self.carry_out_refills(sender, count)
        return self.carry_out(gate)

    def carry_out_refills(self, sender: int, count: int) -> None:
        """What is due before a gate draws so many transfers in which P_sender has Δ."""
        for refill in self._supplies[sender].draw(count):
            self.carry_out(RefillTransfers(sender, refill))

    def carry_out(self, gate: HybridGate) -> Tensor:
        """Make or use this gate alone and attribute its cost to the current layer.

        Raises ProtocolError where a gate keeps more or less than it declares.
        """
        role = self.role
        if not isinstance(role, StockParty):
            raise ProtocolError("a protocol that only loads a model has no gates")
        role.begin_gate()
        if isinstance(role, User):
            self.made += gate.made()
            with role.meter.gate(self.layer_name, gate.name, gate.cost()):
                return gate.use(role)
        assert isinstance(role, Maker)
        made, before = gate.made(), role.stock.size_bytes
        self.made += made
        with role.meter.gate(self.layer_name, gate.name, made.cost):
            result = gate.make(role)
        if role.stock.size_bytes - before != made.kept(role.index):
            raise ProtocolError(
                f"gate {gate.name} keeps {role.stock.size_bytes - before} bytes and declares {made.kept(role.index)}"
            )
        return result

    def garbled(self, x: Tensor, of: Masked) -> Tensor:
        """The result of a circuit of the numbers along the last axis. Shapes: [..., k] -> [...]."""
        return self.run(GarbledByClient(x, of) if of.late else GarbledByServer(x, of))

    @property
    def garbler(self) -> Garbler:
        """Who garbles."""
        return self.role.garbler

    def widened(self, x: Secret, bits: int) -> HybridSecret:
        """x in a ring of at least `bits` bits; where it has to be lifted, by a circuit or a transfer."""
        own = self.own(x)
        if own.bits >= bits:
            return own
        width = min(self.policy.ring_bits(own.fraction_bits), own.bits)
        if self.garbler == "nobody":
            bits = min(width + 8 * ring.element_bytes(bits - width), ring.WORD_BITS)  # as many bytes
            return HybridSecret(self, self.run(Lifted(own.share, width, bits)), bits, own.fraction_bits)
        share = self.garbled(own.share.unsqueeze(-1), lifted(width, bits, self.garbler))
        return HybridSecret(self, share, bits, own.fraction_bits)

    def result(self, share: Tensor, bits: int, scale: int, fraction_bits: int) -> HybridSecret:
        """The secret of a share in Z_2^bits, truncated if it must be. Raises ProtocolError where that is no smaller
        scale."""
        if fraction_bits > scale:
            raise ProtocolError(f"cannot truncate from {scale} to {fraction_bits} fraction bits")
        found = HybridSecret(self, share, bits, scale)
        return found.truncated(scale - fraction_bits, at_owner=self.role.index == 1)

    def need_transfers(self, what: str) -> None:
        """Raises ConfigurationError where circuits are garbled."""
        if self.garbler != "nobody":
            raise ConfigurationError(
                f"layer {self.layer_name or '(none)'}: protocol 'hybrid' {what} with engine = \"transfer\" alone"
            )

    def plus_public(self, x: HybridSecret, number: Tensor) -> HybridSecret:
        """x + number, ring elements at x's scale, in x's ring: P1 adds it."""
        added = number if self.role.index == 1 else torch.zeros_like(number)
        return HybridSecret(self, ring.add(x.share, added.to(self.device)), x.bits, x.fraction_bits)

    def bind(self, vector: OwnerVector) -> HybridSecret:
        """A prepared tensor as a secret of this session: P1's share is the tensor, P0's is zero."""
        share = vector.values if self.role.index == 1 and self.role.knows_shares else None
        if share is None:
            share = torch.zeros(vector.shape, dtype=torch.int64, device=self.device)
        return HybridSecret(self, share, ring.WORD_BITS, vector.fraction_bits)
