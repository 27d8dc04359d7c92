"""How a model's tensors are loaded: shares are kept, and factors of products opened under a mask once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import Factor, Keep, keep_rows
from secure.protocols.core.secret import Parameter, Visibility
from secure.protocols.masked.dealt.footprint import OPENED_ELEMENTS
from secure.protocols.masked.dealt.forms import Dealt
from secure.protocols.masked.gates.opening import Open, OpenToOne
from secure.protocols.masked.roles import Party
from secure.protocols.masked.weights import Matrix, PublicMatrix, PublicWeight, ServerMatrix, Weight


def share_given(protocol: Dealt, share: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """A share where this role computes; a shape at the dealer, who is given none."""
    if 0 in shape:
        raise ProtocolError(f"a secret of shape {shape} has no elements")
    if share is None:
        share = torch.empty(shape, dtype=torch.int64, device="meta")
    return share.to(protocol.device)


def private(protocol: Dealt, parameter: Parameter, share: Tensor | None, keep: Keep) -> Weight | Matrix:
    """A tensor of which both parties hold shares."""
    whole, bits = share_given(protocol, share, parameter.shape), parameter.bits
    if not parameter.is_matrix:
        return _elementwise(protocol, parameter, whole)

    def opened_rows(part: Tensor) -> Factor:
        pair = protocol.run(Open(part, bits))
        if protocol.at_dealer:
            assert pair.mask is not None
            return keep([pair.mask], bits)
        # Whoever computes a product keeps no mask of the matrix: its share and opened form say everything.
        return keep([part, -pair.opened], bits)

    return Matrix(_by_rows(whole, opened_rows), parameter.shape, parameter.fraction_bits, bits)


def server(protocol: Dealt, parameter: Parameter, values: Tensor | None, keep: Keep) -> Weight | ServerMatrix:
    """A tensor that P1 holds in the clear: P1's share is the tensor, P0's is zero.

    P0 learns the shape, and for factors of products the tensor under a mask that P1 alone draws. P1 learns what it
    has; the dealer the shape. Loading a matrix is one message from P1 to P0; the dealer sends nothing.
    """
    if values is None and not protocol.at_dealer:
        values = torch.zeros((), dtype=torch.int64).expand(parameter.shape)
    whole, bits = share_given(protocol, values, parameter.shape), parameter.bits
    if not parameter.is_matrix:
        return _elementwise(protocol, parameter, whole)
    at_owner = isinstance(protocol.role, Party) and protocol.role.index == 1

    def opened_rows(part: Tensor) -> Factor:
        pair = protocol.run(OpenToOne(part, bits, sender=1))
        kept = pair.mask if protocol.at_dealer else part if at_owner else -pair.opened
        assert kept is not None
        return keep([kept], bits)

    return ServerMatrix(_by_rows(whole, opened_rows), parameter.shape, parameter.fraction_bits, bits, at_owner)


def public(protocol: Dealt, parameter: Parameter, values: Tensor | None, keep: Keep) -> PublicWeight | PublicMatrix:
    """A tensor that both parties hold in the clear. Local; the dealer has its shape."""
    if parameter.is_matrix:
        prepared = None
        if values is not None:
            prepared = keep([values.to(protocol.device)], ring.WORD_BITS)
        return PublicMatrix(prepared, parameter.shape, parameter.fraction_bits)
    if values is None:
        values = torch.empty(parameter.shape, dtype=torch.int64, device="meta")
    return PublicWeight(values.to(protocol.device), parameter.fraction_bits)


PREPARING = {Visibility.PRIVATE: private, Visibility.SERVER: server, Visibility.PUBLIC: public}


def _elementwise(protocol: Dealt, parameter: Parameter, share: Tensor) -> Weight:
    pair = protocol.run(Open(share, parameter.bits)) if parameter.opened else None
    return Weight(share, pair, parameter.fraction_bits, parameter.bits)


def _by_rows(share: Tensor, opened: Callable[[Tensor], Factor]) -> Factor:
    """A matrix's factor. A large one is opened some rows at a time, to bound what is sent, and held, at once."""
    return keep_rows([share], OPENED_ELEMENTS // share.shape[1], lambda parts: opened(parts[0]))
