"""What every model has at its client, wherever it is computed: it is opened, used and unloaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Self

import torch

from secure.protocols.core.errors import SessionError


class ClientModel(ABC):
    """A model that stays where it is computed until `unload`, which the end of a `with` block calls, too."""

    @abstractmethod
    def unload(self) -> None:
        """Free what the model takes."""

    @property
    def device(self) -> torch.device:
        """Where inputs are taken from and outputs are: the client's CPU, whatever computes the model."""
        return torch.device("cpu")

    def eval(self) -> Self:
        """The model itself, as `torch.nn.Module.eval` returns it: nothing is ever trained here."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an error whoever computes may be gone, which that error says better than a second one.
        with suppress(SessionError) if error is not None else nullcontext():
            self.unload()
