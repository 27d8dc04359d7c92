"""Values and planes are opened in one round."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from secure.protocols.core.channel import queue_channels
from secure.protocols.core.cost import Cost, Meter
from secure.protocols.masked.roles import Party

_X, _R, _PLANES = [3, -5], [7, 1 << 30], [[0b10110010, 1, 255]]


def test_values_and_planes_take_one_round() -> None:
    ends, meters = queue_channels("p0", "p1"), [Meter(), Meter()]
    dealer = queue_channels("p1", "dealer")[0]

    def run(index: int) -> tuple[list[Tensor], list[Tensor]]:
        seed, session, device = bytes([index]) * 16, b"session", torch.device("cpu")
        party = Party(index, seed, session, ends[index], dealer if index else None, meters[index], device)
        r = torch.tensor(_R) * (1 - index)
        x = torch.tensor([11, 13]) if index else torch.tensor(_X) - torch.tensor([11, 13])
        planes = torch.tensor(_PLANES, dtype=torch.uint8) ^ 0x5A if index else torch.full((1, 3), 0x5A).to(torch.uint8)
        with meters[index].gate("", "together", Cost()):
            return party.open_together([(x, r, 32), (x, r, 20)], [planes])

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, range(2)))
    total = torch.tensor(_X) + torch.tensor(_R)
    for (wide, narrow), (planes,) in results:
        assert wide.tolist() == (total % (1 << 32)).tolist()
        assert narrow.tolist() == (total % (1 << 20)).tolist()
        assert planes.tolist() == _PLANES
    for meter in meters:
        assert meter.total == Cost(rounds=1, online_bytes=2 * 4 + 2 * 3 + 3)
