"""What families that take images have in common at the client: checks, and images cut into patches.

B batch, C channels, H and W height and width of an image in pixels, N patches of P = C h w numbers each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.models.contract.network import Inputs
from secure.protocols.core.errors import InputError

PIXEL_BITS = 4
"""|pixel| < 2^4: an image processor scales and normalises, to about -3 to 3."""
_ADVICE = "pass what the model's image processor returns (AutoImageProcessor)"
_OF_TEXT = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of the images that a model takes, and of its patches; heights and widths in pixels."""

    channels: int
    height: int
    width: int
    patch_height: int
    patch_width: int

    @property
    def grid(self) -> tuple[int, int]:
        """Whole patches, down and across. Pixels beyond the last one are not used."""
        return self.height // self.patch_height, self.width // self.patch_width

    @property
    def patches(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

    @property
    def patch_elements(self) -> int:
        """P."""
        return self.channels * self.patch_height * self.patch_width


def check_pixels(inputs: Inputs, sizes: ImageSizes) -> Tensor:
    """The images, float [B, C, H, W]. Raises InputError for another type or shape, and when there is text."""
    for name in _OF_TEXT:
        if inputs.get(name) is not None:
            raise InputError(f"{name}: this model takes images; pass pixel_values=... alone")
    pixels = inputs.get("pixel_values")
    if not isinstance(pixels, Tensor):
        raise InputError(f"pixel_values must be a torch tensor, not {type(pixels).__name__}")
    if not pixels.is_floating_point():
        raise InputError(f"pixel_values must hold floating-point numbers, not {pixels.dtype}; {_ADVICE}")
    if pixels.dim() != 4:
        raise InputError(f"pixel_values must have shape [batch, channels, height, width], not {list(pixels.shape)}")
    if not len(pixels):
        raise InputError("pixel_values is empty; at least one image is needed")
    if pixels.shape[1] != sizes.channels:
        raise InputError(f"pixel_values has {pixels.shape[1]} channels; this model takes {sizes.channels}")
    if tuple(pixels.shape[2:]) != (sizes.height, sizes.width):
        raise InputError(
            f"pixel_values has images of {pixels.shape[2]} x {pixels.shape[3]} pixels (height x width); this model "
            f"takes {sizes.height} x {sizes.width}, and does not interpolate its positions; {_ADVICE}"
        )
    return pixels


def check_range(pixels: Tensor) -> None:
    """Raises InputError, naming the first image with a number that is not finite, or outside the range."""
    for wrong, what in (
        (~torch.isfinite(pixels), "NaN or infinite numbers"),
        (pixels.abs() >= 2.0**PIXEL_BITS, f"numbers of magnitude {2**PIXEL_BITS} or more"),
    ):
        images = wrong.flatten(1).any(1).nonzero()
        if len(images):
            raise InputError(f"pixel_values[{int(images[0])}] has {what}; {_ADVICE}")


def cut(pixels: Tensor, sizes: ImageSizes) -> Tensor:
    """Patches, row by row, each flattened as a convolution's weight is. Shapes: [B, C, H, W] -> [B, N, P]."""
    down, across = sizes.grid
    whole = pixels[:, :, : down * sizes.patch_height, : across * sizes.patch_width]
    parts = whole.reshape(len(pixels), sizes.channels, down, sizes.patch_height, across, sizes.patch_width)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(len(pixels), sizes.patches, sizes.patch_elements)


def example_image(sizes: ImageSizes) -> Tensor:
    """One that is white, black and noise from left to right: for a rehearsal. Shapes: float32 [1, C, H, W]."""
    noise = torch.rand(1, sizes.channels, sizes.height, sizes.width, generator=torch.Generator().manual_seed(0))
    image, third = 2 * noise - 1, sizes.width // 3
    image[..., :third] = 1.0
    image[..., third : 2 * third] = -1.0
    return image
