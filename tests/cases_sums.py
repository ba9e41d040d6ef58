# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of cases: losses of sums."""

import numpy as np
import oracles_overlap as overlap
import sums
from case import Case

import lossledger as ll

SPACE = "height width"
BATCH = f"batch {SPACE}"
IMAGE = ("batch height width class", (4, 3, 5, 3))

ROWS: tuple[Case, ...] = (
    Case("dice-batch", ll.losses.Dice(over="batch height width"), *IMAGE, "binary"),
    Case("dice-sample", ll.losses.Dice(over="height width", smooth=0.5), *IMAGE, "binary"),
    Case(
        "dice-softmax", ll.losses.Dice(over="batch height width", kind="softmax"), *IMAGE, "index"
    ),
    Case("dice-squared", ll.losses.Dice(over="batch height width", squared=True), *IMAGE, "unit"),
    Case("dice-soft", ll.losses.Dice(over="height width", soft_labels=True), *IMAGE, "unit"),
    Case(
        "jaccard",
        ll.losses.Jaccard(BATCH),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.of_monai("DiceLoss", batch=True, jaccard=True, smooth_nr=1, smooth_dr=1),
    ),
    Case(
        "jaccard-sample",
        ll.losses.Jaccard(SPACE, squared=True, smooth=0.5),
        *IMAGE,
        "binary",
        oracle=overlap.of_monai(
            "DiceLoss", batch=False, jaccard=True, squared_pred=True, smooth_nr=0.5, smooth_dr=0.5
        ),
    ),
    Case(
        "jaccard-soft",
        ll.losses.Jaccard(BATCH, soft_labels=True, kind="softmax", smooth=0.2),
        *IMAGE,
        "soft",
        twice=False,
        oracle=overlap.of_smp("JaccardLoss", kind="softmax", smooth=0.1),
    ),
    Case(
        "tversky",
        ll.losses.Tversky(BATCH, 0.3, 0.6),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.of_monai(
            "TverskyLoss", batch=True, alpha=0.3, beta=0.6, smooth_nr=0.5, smooth_dr=0.5
        ),
    ),
    Case(
        "tversky-soft",
        ll.losses.Tversky(SPACE, 0.3, 0.6, smooth=0.4, soft_labels=True),
        *IMAGE,
        "unit",
        oracle=overlap.of_smp("TverskyLoss", sample=True, alpha=0.3, beta=0.6, smooth=0.2),
    ),
    Case(
        "focal-tversky",
        ll.losses.FocalTversky(BATCH),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.of_smp("TverskyLoss", alpha=0.3, beta=0.7, gamma=0.75, smooth=0.5),
    ),
    Case(
        "focal-tversky-softmax",
        ll.losses.FocalTversky(SPACE, 0.8, 0.4, 2.0, kind="softmax", smooth_denominator=1.5),
        *IMAGE,
        "soft",
        oracle=overlap.ratio(
            0.8, 0.4, (1, 2), below=1.5, kind="softmax", h=lambda score: (1 - score) ** 2
        ),
    ),
    Case(
        "log-dice",
        ll.losses.LogDice(BATCH),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.of_smp("DiceLoss", log_loss=True, smooth=0.5),
    ),
    Case(
        "log-jaccard",
        ll.losses.LogDice(SPACE, "jaccard", 0.5, smooth_denominator=0.7),
        *IMAGE,
        "unit",
        oracle=overlap.ratio(1, 1, (1, 2), smooth=0.5, below=0.7, h=lambda score: -np.log(score)),
    ),
    Case(
        "generalized",
        ll.losses.GeneralizedDice(BATCH),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.generalized(lambda y: y**-2.0, (0, 1, 2)),
    ),
    Case(
        "generalized-sample",
        ll.losses.GeneralizedDice(SPACE, "simple", smooth=0.1, kind="softmax"),
        *IMAGE,
        "soft",
        oracle=overlap.generalized(lambda y: 1 / y, (1, 2), smooth=0.1, kind="softmax"),
    ),
    Case(
        "generalized-uniform",
        ll.losses.GeneralizedDice(SPACE, "uniform"),
        *IMAGE,
        "binary",
        oracle=overlap.generalized(np.ones_like, (1, 2)),
    ),
    Case(
        "dice-global",
        ll.losses.Dice(f"{BATCH} class", smooth_denominator=0.0, smooth=0.0),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.ratio(0.5, 0.5, (0, 1, 2, 3), smooth=0.0),
    ),
    Case("boundary", ll.losses.Boundary(), *IMAGE, "real", oracle=overlap.boundary("sigmoid")),
    Case(
        "boundary-softmax",
        ll.losses.Boundary("softmax"),
        *IMAGE,
        "real",
        oracle=overlap.boundary("softmax"),
    ),
    Case(
        "boundary-probabilities",
        ll.losses.Boundary(from_logits=False),
        *IMAGE,
        "real",
        "unit",
        oracle=overlap.boundary("none"),
    ),
    Case(
        "load-balance",
        ll.losses.LoadBalance("batch time"),
        "batch time class",
        (4, 5, 3),
        "none",
        twice=False,
        oracle=overlap.load_balance((0, 1)),
    ),
    Case(
        "load-balance-sample",
        ll.losses.LoadBalance("time", "expert"),
        "batch time expert",
        (4, 5, 3),
        "none",
        oracle=overlap.load_balance((1,)),
    ),
    Case(
        "sums-rmse",
        sums.rmse("batch"),
        "batch feature",
        (6, 3),
        "real",
        twice=False,
        oracle=sums.by_rmse((0,)),
    ),
    Case("sums-f1", sums.f1(SPACE), *IMAGE, "binary", "unit", oracle=sums.by_f1((1, 2))),
    Case(
        "sums-mcc",
        sums.mcc("batch"),
        "batch",
        (12,),
        "binary",
        "unit",
        twice=False,
        oracle=sums.by_mcc,
    ),
    Case(
        "sums-correlation",
        sums.correlation("batch time"),
        "batch time",
        (5, 3),
        "real",
        twice=False,
        oracle=sums.by_correlation,
    ),
    Case(
        "sums-normalized",
        sums.normalized("batch time"),
        "batch time",
        (5, 3),
        "real",
        ("real", "positive"),
        2,
        twice=False,
        oracle=sums.by_normalized,
    ),
    Case(
        "sums-rows",
        sums.row_error("batch time"),
        "batch time class",
        (5, 3, 2),
        "real",
        twice=False,
        oracle=sums.by_row_error,
    ),
)
