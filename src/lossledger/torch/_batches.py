# SPDX-License-Identifier: Apache-2.0
"""Micro-batches as the accumulator reads them, and windows of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from lossledger._errors import MatchError

Last = Literal["step", "carry", "drop"]


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass and its loss need.

    Attributes:
        inputs: The model's arguments: a tensor, a tuple (positional) or a dict (by name).
        targets: As `objective(outputs, targets)` takes them.
        mask: Which elements exist, as the objective takes it.
        sample_weight: Weights, likewise.
        element_weight: Further weights, likewise.
        keys: Integer labels, likewise.
    """

    inputs: Any
    targets: Any = None
    mask: Any = None
    sample_weight: Any = None
    element_weight: Any = None
    keys: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return the objective's keyword arguments."""
        names = ("mask", "sample_weight", "element_weight", "keys")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None and value != {}}


def read_batch(batch: Any) -> MicroBatch:
    """Read a data loader's batch: a `MicroBatch`, or (inputs, targets).

    Raises:
        MatchError: If it is something else.
    """
    if isinstance(batch, MicroBatch):
        return batch
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return MicroBatch(*batch)
    size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    raise MatchError(
        "A micro-batch must be (inputs, targets) or a lossledger.torch.MicroBatch",
        f"Found {type(batch).__name__}{size}",
        "The data loader gives a dict, or a mask or weights beside the targets; or one "
        "micro-batch was passed where a window, a list of them, is asked for",
        "Pass read=lambda batch: MicroBatch(inputs=..., targets=..., mask=...)",
    )


def call_model(model: torch.nn.Module, inputs: Any) -> Any:
    """Call a model with a tensor, a tuple of arguments or a dict of them."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple):
        return model(*inputs)
    return model(inputs)


class Windows:
    """Micro-batches in windows of a fixed number, with a rule for the last one."""

    def __init__(self, size: int, last: Last, read: Callable[[Any], MicroBatch]) -> None:
        """Remember the rule; nothing is carried yet."""
        self.size, self.last, self._reads = size, last, read
        self.carried: list[MicroBatch] = []

    def read(self, batch: Any) -> MicroBatch:
        """Read what a data loader gives; a `MicroBatch` has been read already."""
        return batch if isinstance(batch, MicroBatch) else self._reads(batch)

    def over(self, batches: Iterable[Any]) -> Iterator[list[MicroBatch]]:
        """Yield windows; a last one that is not full is stepped, carried over or dropped."""
        window, self.carried = self.carried, []
        for batch in batches:
            window.append(self.read(batch))
            if len(window) == self.size:
                yield window
                window = []
        if not window:
            return
        if self.last == "step":
            yield window
        elif self.last == "carry":
            self.carried = window
