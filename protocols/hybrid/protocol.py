"""Two parties and no third: a client, and a model's owner who has the weights in the clear.

Products with weights are made ready by homomorphic encryption, what is not linear by garbled circuits and oblivious
transfer, or by transfers alone where nobody garbles, all before there is an input (`HybridMaker`). With the input, the
parties exchange masked values, bits and labels (`HybridParty`). One class serves both: which gate comes next depends on
shapes alone.

*What each learns.* P0, at the client: the input, the output, shapes. P1, the owner: shapes, times, and how often
something was made. *What it rests on:* both follow the protocol; RLWE, AES as an ideal cipher in the hash of labels,
Diffie and Hellman's problem on Ed25519, SHA-256 as a random oracle. *What it does not give:* a client that deviates can
read the model. As garbler it may garble another function than the agreed one, and so choose what P1 multiplies with its
weights; as evaluator it may hand back what it likes instead of the colours it computed, and without circuits another
share of a result. The outputs then are equations
for the weights. No check here finds that out.

Source: Mishra, Lehmkuhl, Srinivasan, Zheng, Popa, DELPHI, 2020, for the two phases; CryptoNite for the client as
garbler; Lehmkuhl, Mishra, Srinivasan, Popa, MUSE, 2021, for what deviating clients do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ConfigurationError, ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.core.secret import P, Parameter, Primitive, Secret, Visibility
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.gates.ends import GiveOutput, TakeInput
from secure.protocols.hybrid.gates.gate import unknown
from secure.protocols.hybrid.gates.keys import KeyExchange
from secure.protocols.hybrid.programs import PROGRAMS
from secure.protocols.hybrid.roles import HybridRole, Maker, User
from secure.protocols.hybrid.secret import HybridSecret
from secure.protocols.hybrid.stock import MemoryShelf, Shelf, Stock
from secure.protocols.hybrid.verbs import HybridVerbs
from secure.protocols.hybrid.weights import OwnerMatrix, OwnerVector, prepared


class HybridProtocol(HybridVerbs):
    """Shared by all: make a `HybridMaker`, a `HybridParty`, or one that only loads a model."""

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        if primitive not in PROGRAMS:
            raise ConfigurationError(
                f"layer {self.layer_name or '(none)'}: protocol 'hybrid' has no {primitive.name}, with neither engine. "
                "Use protocol 'beaver' for this model"
            )
        return PROGRAMS[primitive](self, x, *args, **kwargs)

    # -- ends of the program ---------------------------------------------------------------------------------------

    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> HybridSecret:
        """A secret from a share that the client made; there is none yet while correlations are made."""
        if 0 in shape:
            raise ProtocolError(f"a secret of shape {shape} has no elements")
        kept = min(bits, self.policy.ring_bits(fraction_bits + self.policy.fraction_bits))
        taken = self.run(TakeInput(unknown(*shape) if share is None else share, kept))
        return HybridSecret(self, taken, kept, fraction_bits)

    def reveal(self, x: Secret, bits: int = ring.WORD_BITS) -> Tensor:
        """A share of x in Z_2^bits for the client; a shape while correlations are made."""
        return self.run(GiveOutput(self.widened(x, bits).share, bits))

    def prepare(
        self,
        parameter: Parameter,
        given: Tensor | None,
        visibility: Visibility = Visibility.PRIVATE,
        keep: Keep = IN_MEMORY,
    ) -> OwnerVector | OwnerMatrix:
        """Local: nothing is opened, and P0 keeps shapes. Raises ConfigurationError unless P1 has the weights."""
        if visibility is not Visibility.SERVER:
            raise ConfigurationError(
                f"protocol 'hybrid' takes weights='server': the model's owner is one of its two parties; these are "
                f"{visibility.value}"
            )
        return prepared(parameter, given if self.role.index == 1 else None, keep)


class HybridLoader(HybridProtocol):
    """Party 0 or 1 while it loads a model."""

    def __init__(self, index: int, policy: FixedPointPolicy, on_layer: Callable[[str], None] | None = None) -> None:
        super().__init__(HybridRole(index, "client"), policy, on_layer)


class HybridMaker(HybridProtocol):
    """Party 0 or 1 while correlations for one session are made."""

    def __init__(
        self,
        stock: Stock,
        peer: Channel,
        policy: FixedPointPolicy,
        *,
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
    ) -> None:
        """stock: an empty one, which is filled for one `HybridParty`: see `fresh_stock`."""
        super().__init__(Maker(stock, peer, meter), policy, on_layer)
        self.run(KeyExchange(stock.garbler))


def fresh_stock(index: int, session: bytes, garbler: Garbler, shelf: Shelf | None = None) -> Stock:
    """An empty stock with a seed that was never used. session: what names the making, fresh, the same at both."""
    return Stock(index, session, garbler, secrets.token_bytes(SEED_BYTES), shelf or MemoryShelf())


class HybridParty(HybridProtocol):
    """Party 0 or 1 of the session that uses a stock."""

    def __init__(
        self,
        stock: Stock,
        peer: Channel,
        policy: FixedPointPolicy,
        *,
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
    ) -> None:
        """Raises ProtocolError for a stock that was begun before."""
        self.user = User(stock, peer, meter)
        super().__init__(self.user, policy, on_layer)
        self.run(KeyExchange(stock.garbler))

    def finish(self) -> None:
        self.user.stock.finish()
