"""How an evaluator keeps a matrix of which it has two parts: what was opened is the same in both, and kept once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from torch import Tensor

from secure.protocols.core.factor import Apart, Factor, Keep


class OpenedOnce:
    """Keeps the two parts of one matrix, of which the own part comes first, block by block."""

    def __init__(self, keep: Keep) -> None:
        """keep: how this role keeps factors otherwise."""
        self._keep = keep
        self._opened: deque[Factor] = deque()

    def own(self, ys: Sequence[Tensor], bits: int) -> Factor:
        """A share of the own part, and what was opened. Shapes: int64 [K, N] each."""
        share, opened = ys
        self._opened.append(self._keep([opened], bits))
        return Apart((self._keep([share], bits), self._opened[-1]))

    def following(self, ys: Sequence[Tensor], bits: int) -> Factor:
        """A share of the following part beside what `own` has kept."""
        return Apart((self._keep(ys[:1], bits), self._opened.popleft()))
