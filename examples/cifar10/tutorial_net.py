"""Two convolutions and two linear layers with nothing between them, as many tutorials write it.

Without a non-linearity the whole network is one linear map of the pixels, however many parameters it has; the example measures what that costs.
"""

from __future__ import annotations

from torch import Tensor, nn

from danlu.nn.image.model import ImageModel


class TwoConvolutions(ImageModel):
    """6.4 million parameters on 32 x 32 pictures, and the power of a linear classifier."""

    bf16_on_cpu = False

    def __init__(self, classes: int, size: str, **facts: object) -> None:
        super().__init__(**facts)
        height, width = self.sides
        self.body = nn.Sequential(
            nn.Conv2d(self.channels, 32, 3), nn.Conv2d(32, 64, 3), nn.Flatten(), nn.Linear(64 * (height - 4) * (width - 4), 128)
        )
        self.classify = nn.Linear(128, classes)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.classify(self.body(self.normalised(batch)))

    def stages(self) -> list[nn.Module]:
        return [self.body, self.classify]
