"""What a client does to an image before it sends it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from secure.protocols.core.errors import InputError
from secure.protocols.equivariant.action import Action


class Pixels(ABC):
    """An element of the group that acts on images."""

    @abstractmethod
    def encrypt(self, images: Tensor) -> Tensor:
        """Images as the encrypted model takes them. Shapes: float64 [B, C, H, W] -> same."""


class MixedChannels(Pixels):
    """An action on the channels of each pixel."""

    def __init__(self, channels: Action) -> None:
        self._channels = channels

    def encrypt(self, images: Tensor) -> Tensor:
        _check(images, self._channels.size, None)
        return self._channels.write(images.movedim(1, -1)).movedim(-1, 1)


class MixedPatches(Pixels):
    """An action on the pixels of each patch, and one on the order of patches."""

    def __init__(
        self, patch: Action, order: Action, channels: int, image: tuple[int, int], size: tuple[int, int]
    ) -> None:
        """image, size: height and width in pixels of an image and of a patch."""
        self._patch = patch
        self._order = order
        self._channels = channels
        self._image = image
        self._size = size

    def encrypt(self, images: Tensor) -> Tensor:
        _check(images, self._channels, self._image)
        (height, width), (down, across) = self._image, self._size
        grid = (len(images), self._channels, height // down, down, width // across, across)
        # Pixels beyond the last whole patch are not read by the model. They do not leave the client.
        whole = images[:, :, : height // down * down, : width // across * across]
        patches = whole.reshape(grid).permute(0, 2, 4, 1, 3, 5)
        mixed = self._patch.write(patches.flatten(3).flatten(1, 2))
        moved = self._order.on_axis(mixed, 1, reads=False)
        out = images.new_zeros(images.shape)
        out[:, :, : whole.shape[2], : whole.shape[3]] = (
            moved.reshape(patches.shape).permute(0, 3, 1, 4, 2, 5).reshape(whole.shape)
        )
        return out


def _check(images: Tensor, channels: int, size: tuple[int, int] | None) -> None:
    wanted = f"[B, {channels}, {'H' if size is None else size[0]}, {'W' if size is None else size[1]}]"
    if images.dim() != 4 or images.shape[1] != channels or (size is not None and tuple(images.shape[2:]) != size):
        raise InputError(f"pixel values have shape {list(images.shape)}; this model takes {wanted}")
