# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of cases: likelihoods, clamps and hinges that torch has."""

import numpy as np
import oracles_regression as oracles
from case import TARGETS, Case

import lossledger as ll

TARGETS["sign"] = lambda rng, shape, axes: np.where(rng.random(shape) < 0.5, -1.0, 1.0)

ROWS: tuple[Case, ...] = (
    Case("nll", ll.losses.NegativeLogLikelihood(), "batch class", (6, 4), "index"),
    Case("nll-soft", ll.losses.NegativeLogLikelihood(), "batch class time", (4, 3, 2), "soft"),
    Case(
        "pointwise-kl",
        ll.losses.PointwiseKL(),
        "batch class",
        (5, 3),
        "unit",
        oracle=oracles.of_torch("kl_div"),
    ),
    Case(
        "pointwise-kl-log",
        ll.losses.PointwiseKL(log_target=True),
        "batch class",
        (5, 3),
        "real",
        oracle=oracles.of_torch("kl_div", log_target=True),
    ),
    Case(
        "clamped-bce",
        ll.losses.ClampedBinaryCrossEntropy(),
        "batch class",
        (5, 3),
        "unit",
        "unit",
        oracle=oracles.of_torch("binary_cross_entropy"),
    ),
    Case(
        "hinge-embedding",
        ll.losses.HingeEmbedding(margin=1.5),
        "batch time",
        (5, 3),
        "sign",
        "positive",
        oracle=oracles.of_torch("hinge_embedding_loss", margin=1.5),
    ),
    Case("margin-ranking", ll.losses.MarginRanking(0.5), "batch time", (5, 3), "sign", "real", 2),
    Case(
        "multi-margin",
        ll.losses.MultiMargin(),
        "batch class",
        (6, 4),
        "index",
        oracle=oracles.of_torch("multi_margin_loss"),
    ),
    Case(
        "multi-margin-square-soft",
        ll.losses.MultiMargin(p=2, margin=0.7),
        "batch class time",
        (4, 3, 2),
        "soft",
    ),
    Case("multilabel-margin", ll.losses.MultilabelMargin(), "batch class", (6, 4), "binary"),
    Case(
        "product-focal",
        ll.losses.ProductFocal(gamma=1.5, alpha=0.3),
        "batch class",
        (5, 3),
        "unit",
    ),
)
