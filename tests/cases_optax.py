# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of cases: losses of vectors, margins and sparse rows that optax has."""

import oracles_classification as known
from case import Case

import lossledger as ll

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
)
