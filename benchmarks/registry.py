# SPDX-License-Identifier: Apache-2.0
"""The workloads by name: where each is defined, and what it needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One workload.

    Attributes:
        module: The module whose `workload(name, quick)` builds it.
        gib: Memory it needs, in GiB, the hungriest competitor included.
        optional: Runs only if its name is given.
        backend: Keras' backend, for a module that is a program of its own.
    """

    module: str
    gib: float = 2.0
    optional: bool = False
    backend: str | None = None


ENTRIES = {
    "W1": Entry("binary_segmentation"),
    "W1-channels-first": Entry("binary_segmentation"),
    "W2": Entry("volumes", gib=8.0),
    "W3a": Entry("vocabulary", gib=8.0),
    "W3a-128k": Entry("vocabulary", gib=20.0, optional=True),
    "W3b": Entry("vocabulary", gib=8.0, optional=True),
    "W4-128x10": Entry("overhead"),
    "W4-128x10-smooth": Entry("overhead"),
    "W4-4096x1000": Entry("overhead"),
    "W4-4096x1000-smooth": Entry("overhead"),
    "W5": Entry("two_heads"),
    "W6-conv-one": Entry("splitting"),
    "W6-conv-two": Entry("splitting"),
    "W6-mlp-one": Entry("splitting"),
    "W6-mlp-two": Entry("splitting"),
    "W7-jax": Entry("keras_steps", backend="jax"),
    "W7-torch": Entry("keras_steps", backend="torch"),
    "W7-tensorflow": Entry("keras_steps", backend="tensorflow"),
}


def chosen(only: str | None) -> list[str]:
    """Return the names that `only` stands for: itself, or all that begin with it.

    Raises:
        ValueError: If there is none.
    """
    if only in ENTRIES and ENTRIES[only].optional:
        return [only]
    start = only or ""
    names = [n for n, e in ENTRIES.items() if n.startswith(start) and not e.optional]
    if not names:
        raise ValueError(f"no workload begins with {only!r}; there are {', '.join(ENTRIES)}")
    return names
