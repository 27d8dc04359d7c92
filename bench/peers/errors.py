"""Why a peer has no figures."""

from __future__ import annotations


class PeerError(Exception):
    """A peer could not be installed, or failed. The message says why; it ends up in the result."""
