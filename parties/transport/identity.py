"""Who asks for a session, as the certificate says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """A role and, of a client, its own name: all processes with one certificate are one identity."""

    role: str
    name: str

    @property
    def is_owner(self) -> bool:
        """Whether it is the models' owner, who may unload what others use."""
        return self.role == "owner"
