"""DeferredTensor tensors compute what the same code on plain tensors does, later and as often as they are asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from secure.models.contract.deferred import DeferredTensor, computed
from secure.protocols.core.errors import ProtocolError

A = torch.arange(24, dtype=torch.float64).reshape(4, 6) / 7
B = torch.arange(4, dtype=torch.float64) - 1.5
SCALE = torch.tensor([1.0, -2.0, 3.0, 0.5, 1.0, 4.0], dtype=torch.float64)


def in_place(a: Tensor, b: Tensor) -> Tensor:
    joined = torch.cat([a, a], 1)
    before = joined * 2
    joined *= b.unsqueeze(1)
    joined += 1
    return torch.stack([before, joined])


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "itself": lambda a, b: a,
    "views": lambda a, b: a.T[1:5].reshape(2, 2, 4).transpose(0, 1).contiguous()[..., -1],
    "joined": lambda a, b: torch.cat([a, a[:2]]).unsqueeze(0).expand(2, -1, -1),
    "arithmetic": lambda a, b: 2 * a - a / 3 + (1 - a) ** 2,
    "with plain tensors": lambda a, b: a * SCALE + SCALE,
    "centred": lambda a, b: a - a.mean(-1, keepdim=True),
    "products": lambda a, b: b @ a + (a.T @ b),
    "parts": lambda a, b: torch.cat(a.split(3)[::-1]) + torch.cat(list(a.unbind(1)[:1])).mean(),
    "padded": lambda a, b: torch.nn.functional.pad(a, (0, 0, 1, 0)),
    "in place": in_place,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_same_values(name: str) -> None:
    read = []

    def deferred(tensor: Tensor) -> DeferredTensor:
        def compute() -> Tensor:
            read.append(1)
            return tensor.clone()

        return DeferredTensor.of(tuple(tensor.shape), compute)

    found, due = FUNCTIONS[name](deferred(A), deferred(B)), FUNCTIONS[name](A, B)
    assert isinstance(found, DeferredTensor) and not read, "nothing is read before it is wanted"
    assert found.shape == due.shape and found.dtype == due.dtype
    for _ in range(2):
        assert torch.equal(computed(found), due)
    assert computed(A) is A


@pytest.mark.parametrize("change", [lambda a: a.T.mul_(2), lambda a: a.__setitem__(0, 1.0)])
def test_what_would_change_another_tensor_is_refused(change: Callable[[Tensor], object]) -> None:
    with pytest.raises(ProtocolError, match="make a new one"):
        change(DeferredTensor.of((4, 6), A.clone))


def test_values_cannot_be_asked_for() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        float(DeferredTensor.of((4, 6), A.clone).max())
