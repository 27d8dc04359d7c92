"""Your own torch module, privately: `torch.export` takes it apart here, and the parties get a graph and shares.

python examples/own_module.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import secure


class Digits(nn.Module):
    """A small convolutional network for pictures of 8 × 8 points."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.Conv2d(1, 4, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.scores = nn.Linear(4 * 4 * 4, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Shapes: [B, 1, 8, 8] -> scores [B, 10]."""
        x = torch.relu(self.norm(self.edges(images)))
        x = nn.functional.avg_pool2d(x, 2)
        scores: Tensor = self.scores(x.flatten(1))
        return scores


def main() -> float:
    """The largest difference between private scores and those in the clear."""
    torch.manual_seed(0)
    module = Digits().eval()
    example, images = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    with secure.launch() as parties:
        # The example gives the shapes of all later calls, and typical values.
        model = secure.PrivateModel.from_module(module, example, parties=parties)
        scores = model(images)
    print("classes:", scores.argmax(1).tolist())
    print(model.report)
    with torch.inference_mode():
        difference = float((scores - module(images)).abs().max())
    print(f"largest difference from the clear: {difference:.1e}")
    return difference


if __name__ == "__main__":
    main()
