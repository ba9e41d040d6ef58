# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of cases: losses that libraries of segmentation have."""

import oracles_images as known
from case import TARGETS, Case

import lossledger as ll

SPACE = "height width"
BATCH = f"batch {SPACE}"
IMAGE = ("batch height width class", (4, 3, 5, 3))
# Labels that a loss reads as numbers: they are no classes of the ledger's.
TARGETS["numbers"] = TARGETS["index"]
CONFIDENT = ll.losses.ScaledCrossEntropy(1.5, 0.3, "confidence", threshold=0.6)

ROWS: tuple[Case, ...] = (
    Case(
        "scaled-margin",
        ll.losses.ScaledCrossEntropy(2.0, (0.2, 0.5, 0.9)),
        "batch time class",
        (3, 2, 3),
        "unit",
        oracle=known.scaled_by_margin(2.0, (0.2, 0.5, 0.9)),
    ),
    Case(
        "scaled-confidence",
        ll.losses.ScaledCrossEntropy(1.5, 0.3, "confidence"),
        "batch class",
        (6, 4),
        "unit",
        oracle=known.scaled_by_confidence(1.5, 0.3),
    ),
    Case(
        "scaled-reduced",
        CONFIDENT,
        "batch class",
        (6, 4),
        "binary",
        oracle=known.scaled_by_confidence(1.5, 0.3, 0.6),
    ),
    Case(
        "class-focal",
        ll.losses.ClassFocal(1.5, 0.3),
        "batch time class",
        (3, 2, 4),
        "soft",
        oracle=known.class_focal(1.5, (0.7, 0.3, 0.3, 0.3)),
    ),
    Case(
        "normalized-focal",
        ll.losses.NormalizedFocal("batch time", CONFIDENT),
        "batch time class",
        (5, 3, 2),
        "binary",
        twice=False,
        oracle=known.normalized_focal(1.5, 0.3, 0.6, (0, 1)),
    ),
    Case(
        "normalized-focal-sum",
        ll.losses.NormalizedFocal(
            SPACE, ll.losses.ScaledCrossEntropy(2.0, doubt="confidence"), mean=False
        ),
        *IMAGE,
        "binary",
        oracle=known.normalized_focal(2.0, None, None, (1, 2), mean=False),
    ),
    Case(
        "label-entropy",
        ll.losses.LabelCrossEntropy((1.0, 2.0, 0.5, 3.0), 2, 0.1),
        "batch time class",
        (3, 4, 4),
        "numbers",
        oracle=known.label_entropy((1.0, 2.0, 0.5, 3.0), 2, 0.1),
    ),
    Case(
        "clipped-negative",
        ll.losses.ClippedTversky(BATCH, 0.3, 0.6, form="negative", least=40.0),
        *IMAGE,
        "binary",
        twice=False,
        oracle=known.clipped(0.3, 0.6, 1.0, (0, 1, 2), least=40.0, h=lambda t: -t),
    ),
    Case(
        "clipped-log",
        ll.losses.ClippedTversky(SPACE, smooth=0.0, form="log", floor=0.4, soft_labels=True),
        *IMAGE,
        "unit",
        oracle=known.clipped(
            0.5, 0.5, 0.0, (1, 2), soft=True, h=lambda t: -known.log(known.held(t, 0.4))
        ),
    ),
    Case(
        "tversky-power",
        ll.losses.MeanTverskyPower(
            ll.losses.ClippedTversky(BATCH, 0.3, 0.7, 0.5), 0.75, (1.0, 2.0, 0.5)
        ),
        *IMAGE,
        "binary",
        twice=False,
        oracle=known.tversky_power(0.3, 0.7, 0.5, (0, 1, 2), 0.75, (1.0, 2.0, 0.5)),
    ),
    Case(
        "matthews",
        ll.losses.Matthews(BATCH, 0.1),
        *IMAGE,
        "unit",
        twice=False,
        oracle=known.matthews(0.1, (0, 1, 2)),
    ),
    Case(
        "one-hot",
        ll.losses.OneHot(ll.losses.ScaledCrossEntropy(2.0)),
        "batch time class",
        (3, 2, 4),
        "index",
        oracle=known.one_hot(known.scaled_by_margin(2.0, None)),
    ),
    Case(
        "one-hot-foreground",
        ll.losses.OneHot(ll.losses.Foreground(ll.losses.ClassFocal(1.0))),
        "batch time class",
        (3, 2, 4),
        "index",
        oracle=known.foreground(known.class_focal(1.0, (1.0, 1.0, 1.0))),
    ),
    Case(
        "one-hot-sums",
        ll.losses.OneHotSums(ll.losses.Dice(SPACE)),
        *IMAGE,
        "index",
        oracle=known.one_hot(known.clipped(0.5, 0.5, 1.0, (1, 2), h=lambda t: 1 - t)),
    ),
)
