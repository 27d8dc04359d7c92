"""Channels of a ReLU CNN.

Transforms: channels of each convolution change places and take positive scales s, W ← W·P·S; the next convolution
reads them back. Behind a batch normalisation s goes into its gain and bias, the running moments only change places.
The channels of the image take any invertible matrix, at the client, undone by the first convolution.

Exact because convolutions mix channels by a product at each offset, zero padding stays zero, ReLU(s·x) = s·ReLU(x)
and max(s·x) = s·max(x) for s > 0, and means are linear. Channels that a shortcut adds share one element.

Leaves: each channel's map up to a positive factor, so its zeros; the running moments as a multiset; edges and shapes
of the image, for pixels stay in place. This hides weights from casual reading, and little of an image.
"""

from __future__ import annotations

from secure.protocols.equivariant.action import Action, Blocks, Permutation, Scale
from secure.protocols.equivariant.key import Key

RATIO = 4.0
"""Largest over smallest scale."""
CONDITION = 4.0
"""Largest over smallest singular value of the matrix that mixes an image's channels."""


def order(key: Key, label: str, size: int) -> Permutation:
    """P for one space of channels."""
    return Permutation(key.stream("channels", label, "order").permutation(size))


def scales(key: Key, label: str, size: int) -> Scale:
    """S, in the new order."""
    return Scale(key.stream("channels", label, "scales").scales(size, RATIO))


def image(key: Key, size: int) -> Action:
    """What mixes the channels of an image."""
    return Blocks(*key.stream("channels", "image").invertible(size, CONDITION))


def image_order(key: Key, size: int) -> Permutation:
    """The order of an image's channels, as a permutation."""
    return Permutation(key.stream("channels", "image").permutation(size))
