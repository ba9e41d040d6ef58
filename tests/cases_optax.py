# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of cases: losses of vectors, margins and sparse rows that optax has."""

import numpy as np
import oracles_classification as known
import scipy.special
from case import Case

import lossledger as ll
from lossledger._array import library_of

VECTORS = ("batch feature", (6, 3))
AMONG = np.array([[[True, False, True, True]]])


def _log_sum_exp(row):
    """A potential in any library; its gradient is the softmax."""
    return library_of(row).logsumexp(row, -1)


def _softmax(row):
    xp = library_of(row)
    return xp.exp(xp.log_softmax(row, -1))


def _half_square(row):
    return library_of(row).sum(row * row) / 2


ROWS: tuple[Case, ...] = (
    Case(
        "cosine",
        ll.losses.CosineSimilarity(),
        "batch class time",
        (4, 3, 2),
        "real",
        oracle=known.of_optax("cosine_distance", axis=1),
    ),
    Case(
        "cosine-floor",
        ll.losses.CosineSimilarity("similarity", floor=1.5, axis="feature"),
        "batch feature",
        (6, 2),
        "real",
        oracle=known.of_optax("cosine_similarity", epsilon=2.25),
    ),
    Case(
        "perceptron",
        ll.losses.Perceptron(),
        "batch",
        (7,),
        "sign_per_sample",
        oracle=known.of_optax("perceptron_loss"),
    ),
    Case(
        "perceptron-margin",
        ll.losses.Perceptron(1.0, 0.0),
        "batch",
        (7,),
        "sign_per_sample",
        oracle=known.of_optax("hinge_loss"),
    ),
    Case(
        "multiclass-perceptron",
        ll.losses.MulticlassPerceptron(),
        "batch time class",
        (3, 2, 4),
        "index",
        oracle=known.of_optax("multiclass_perceptron_loss"),
    ),
    Case(
        "multiclass-perceptron-margin",
        ll.losses.MulticlassPerceptron(1.0),
        "batch class",
        (6, 4),
        "index",
        oracle=known.of_optax("multiclass_hinge_loss"),
    ),
    Case(
        "fenchel-young",
        ll.losses.FenchelYoung(_log_sum_exp, _softmax),
        "batch class time",
        (4, 3, 2),
        "soft",
        oracle=known.fenchel_young(axis=1),
    ),
    Case(
        "fenchel-young-square",
        ll.losses.FenchelYoung(_half_square, lambda row: row, axis="feature"),
        *VECTORS,
        "real",
        oracle=lambda outputs, t: (outputs[0] * (outputs[0] / 2 - t)).sum(1),
    ),
    Case(
        "binary-sparsemax",
        ll.losses.BinarySparsemax(),
        "batch time",
        (5, 3),
        "binary",
        oracle=known.of_optax("sparsemax_loss"),
    ),
    Case(
        "sparsemax",
        ll.losses.Sparsemax(),
        "batch class",
        (6, 4),
        "index",
        oracle=known.of_optax("multiclass_sparsemax_loss"),
    ),
    Case("sparsemax-soft", ll.losses.Sparsemax(), "batch class time", (4, 3, 2), "soft"),
    Case(
        "subset",
        ll.losses.SubsetCrossEntropy(AMONG),
        "batch time class",
        (3, 2, 4),
        "index",
        oracle=known.of_optax("softmax_cross_entropy_with_integer_labels", where=AMONG),
    ),
    Case(
        "subset-soft",
        ll.losses.SubsetCrossEntropy(AMONG),
        "batch time class",
        (3, 2, 4),
        "soft",
        oracle=known.of_optax("softmax_cross_entropy", where=AMONG),
    ),
    Case(
        "generalized-kl",
        ll.losses.GeneralizedKL(),
        "batch class",
        (6, 4),
        "positive",
        oracle=lambda outputs, t: scipy.special.kl_div(t, np.exp(outputs[0])),
    ),
    Case(
        "balanced-dice",
        ll.losses.BalancedDice("height width"),
        "batch height width class",
        (3, 2, 3, 4),
        "one_hot",
        twice=False,
    ),
    Case("nt-xent", ll.losses.NTXent(0.5, 1e-3), *VECTORS, "sign_per_sample", twice=False),
    Case("smooth-triplet", ll.losses.SmoothTriplet(2.0, 4.0), *VECTORS, "none", "real", 3),
)
