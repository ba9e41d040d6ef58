# SPDX-License-Identifier: Apache-2.0
"""Scenes composed of scikit-learn's scanned digits, with one binary mask per digit group.

A scene is a small image that holds several real handwritten digits at random places and
scales, and none on top of another. The digits fall into five groups. Digits of the last
group are rare twice over: few scenes hold one, and it is never large.
"""

from dataclasses import dataclass

import numpy as np

from lossledger._typing import Array, Float, Int, Sequence

CLASSES = ("0-1", "2-3", "4-5", "6-7", "8-9")
"""The groups: class k holds the digits 2k and 2k + 1."""

RARE = len(CLASSES) - 1
"""Index of the rare group."""

INK = 0.3
"""A pixel belongs to a digit where its ink, from 0 to 1, exceeds this."""


@dataclass(frozen=True)
class SceneSettings:
    """How scenes are composed.

    Args:
        size: Height and width of a scene in pixels.
        digits: Fewest and most digits of the four ordinary groups in a scene.
        scale: Smallest and largest side of an ordinary digit in pixels.
        rare_scale: The same for a digit of the rare group.
        rare_chance: Probability that a scene holds a digit of the rare group.
        attempts: Places tried for a digit before it is left out.
    """

    size: int = 32
    digits: tuple[int, int] = (3, 4)
    scale: tuple[int, int] = (8, 14)
    rare_scale: tuple[int, int] = (8, 9)
    rare_chance: float = 0.12
    attempts: int = 20


@dataclass(frozen=True, eq=False)
class Digits:
    """Scanned digits: ink from 0 to 1, and the digit that was written."""

    images: Float[Array, "digit 8 8"]
    labels: Int[Array, " digit"]

    def of_class(self, group: int) -> Float[Array, "some 8 8"]:
        """Return the images whose digit is in the group."""
        return self.images[self.labels // 2 == group]


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images and their masks; the last axis of the masks is the class."""

    images: Float[Array, "batch height width"]
    masks: Float[Array, "batch height width class"]

    def __len__(self) -> int:
        """Return the number of scenes."""
        return int(self.images.shape[0])

    def pixel_shares(self) -> tuple[float, ...]:
        """Return the share of all pixels that each class covers."""
        return tuple(float(share) for share in self.masks.mean(axis=(0, 1, 2), dtype=np.float64))

    def scene_shares(self) -> tuple[float, ...]:
        """Return the share of scenes in which each class occurs."""
        return tuple(float(share) for share in self.masks.any(axis=(1, 2)).mean(axis=0))


@dataclass(frozen=True)
class Box:
    """A square of pixels: its top row, its left column, its side."""

    top: int
    left: int
    side: int

    def overlaps(self, other: "Box") -> bool:
        """Say whether the two squares share a pixel."""
        apart = (
            self.top + self.side <= other.top
            or other.top + other.side <= self.top
            or self.left + self.side <= other.left
            or other.left + other.side <= self.left
        )
        return not apart


def split_digits(seed: int = 0, test_share: float = 1 / 3) -> tuple[Digits, Digits]:
    """Return scikit-learn's 1,797 digits in two disjoint parts: train and test.

    Args:
        seed: Decides which digit goes where.
        test_share: Share of the digits, from 0 to 1, that training never sees.

    Returns:
        The digits that training scenes are made of, and those of the test scenes.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - seconds; workers do without

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(images))
    cut = round(len(images) * (1 - test_share))
    train, test = order[:cut], order[cut:]
    return Digits(images[train], bunch.target[train]), Digits(images[test], bunch.target[test])


def compose(count: int, digits: Digits, seed: int, settings: SceneSettings) -> Scenes:
    """Return `count` scenes made of the digits given; the same seed gives the same scenes."""
    rng = np.random.default_rng(seed)
    groups = [digits.of_class(group) for group in range(len(CLASSES))]
    size = settings.size
    images = np.zeros((count, size, size), dtype=np.float32)
    masks = np.zeros((count, size, size, len(CLASSES)), dtype=np.float32)
    for image, mask in zip(images, masks, strict=True):
        boxes: list[Box] = []
        for group in draw_groups(rng, settings):
            box = draw_box(rng, group, boxes, settings)
            if box is None:
                continue
            boxes.append(box)
            ink = resize(rng.choice(groups[group]), box.side)
            rows = slice(box.top, box.top + box.side)
            columns = slice(box.left, box.left + box.side)
            image[rows, columns] = ink
            mask[rows, columns, group] = ink > INK
    return Scenes(images, masks)


def draw_groups(rng: np.random.Generator, settings: SceneSettings) -> list[int]:
    """Draw which groups a scene's digits come from, the rare one last."""
    fewest, most = settings.digits
    count = rng.integers(fewest, most + 1)
    groups = [int(group) for group in rng.integers(0, RARE, size=count)]
    return [*groups, RARE] if rng.random() < settings.rare_chance else groups


def draw_box(
    rng: np.random.Generator, group: int, taken: Sequence[Box], settings: SceneSettings
) -> Box | None:
    """Draw a scale and a free place for a digit, or None if no place was found."""
    smallest, largest = settings.rare_scale if group == RARE else settings.scale
    side = int(rng.integers(smallest, largest + 1))
    for _ in range(settings.attempts):
        top, left = (int(place) for place in rng.integers(0, settings.size - side + 1, size=2))
        box = Box(top, left, side)
        if not any(box.overlaps(other) for other in taken):
            return box
    return None


def resize(image: Float[Array, "n n"], side: int) -> Float[Array, "side side"]:
    """Return a square image scaled to `side` pixels by bilinear interpolation.

    Pixel centers are aligned: center i of the new image lies at (i + ½)·n/side − ½ of the
    old one, whose edge pixels are repeated outwards.
    """
    n = image.shape[0]
    place = np.clip((np.arange(side) + 0.5) * n / side - 0.5, 0, n - 1)
    low = np.minimum(place.astype(int), n - 2)
    high_part = (place - low).astype(image.dtype)
    rows = image[low] * (1 - high_part)[:, None] + image[low + 1] * high_part[:, None]
    resized: Float[Array, "side side"] = (
        rows[:, low] * (1 - high_part) + rows[:, low + 1] * high_part
    )
    return resized
