# SPDX-License-Identifier: Apache-2.0
"""The small five-class U-Net that the demo trains."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossledger._typing import Float

BLOCK = 2
"""The network sees blocks of 2 × 2 pixels, and answers for all four pixels of a block."""


class Levels(NamedTuple):
    """Channels at full, half and quarter resolution."""

    full: int
    half: int
    quarter: int


class DoubleConvolution(nn.Module):
    """Two 3 × 3 convolutions, each with batch normalization and ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same height and width."""
        result: Tensor = self.layers(features)
        return result


class UNet(nn.Module):
    """A U-Net of three levels: images in, one logit per pixel and class out.

    Pixels enter as 2 × 2 blocks (`pixel_unshuffle`) and leave the same way, which quarters
    the work of the finest level. Inside, the channels come first; outputs are
    `batch height width class`.

    Args:
        classes: Number of classes, each with its own logit.
        width: Channels of the finest level; the next two have twice and four times as many.
        prior: Probability from 0 to 1 that every pixel and class starts with; as most pixels
            belong to no class, one half would cost the first epoch.

    Source: Ronneberger, Fischer, Brox, "U-Net" (2015); Shi et al., sub-pixel convolution
        (2016); the prior: Lin et al., "Focal loss" (2017), section 4.1.
    """

    def __init__(self, classes: int, width: int = 16, prior: float = 0.05) -> None:
        super().__init__()
        level = Levels(width, 2 * width, 4 * width)
        self.down_full = DoubleConvolution(BLOCK**2, level.full)
        self.down_half = DoubleConvolution(level.full, level.half)
        self.bottom = DoubleConvolution(level.half, level.quarter)
        self.to_half = nn.ConvTranspose2d(level.quarter, level.half, 2, stride=2)
        self.up_half = DoubleConvolution(2 * level.half, level.half)
        self.to_full = nn.ConvTranspose2d(level.half, level.full, 2, stride=2)
        self.up_full = DoubleConvolution(2 * level.full, level.full)
        self.head = nn.Conv2d(level.full, classes * BLOCK**2, 1)
        bias = torch.full((classes * BLOCK**2,), math.log(prior / (1 - prior)))
        self.head.bias = nn.Parameter(bias)

    def forward(
        self, images: Float[Tensor, "batch height width"]
    ) -> Float[Tensor, "batch height width class"]:
        """Return the logits of every pixel and class."""
        blocks = functional.pixel_unshuffle(images[:, None], BLOCK)
        full = self.down_full(blocks)
        half = self.down_half(functional.max_pool2d(full, 2))
        quarter = self.bottom(functional.max_pool2d(half, 2))
        half = self.up_half(torch.cat([self.to_half(quarter), half], dim=1))
        full = self.up_full(torch.cat([self.to_full(half), full], dim=1))
        return functional.pixel_shuffle(self.head(full), BLOCK).permute(0, 2, 3, 1)


def build(classes: int, width: int, seed: int) -> UNet:
    """Return a network whose first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(classes, width)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
