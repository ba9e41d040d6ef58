# SPDX-License-Identifier: Apache-2.0
"""A user's criterion called on the user's data, in its own framework and dtype."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lossledger._errors import DomainError, LossLedgerError, MatchError
from lossledger._typing import Array, Callable
from lossledger.explanation.criterion._host import Data, framework_of, host, into
from lossledger.explanation.criterion._known import Known
from lossledger.explanation.criterion._untouched import untouched

RESOLUTION = {"float64": 1e-10, "float32": 2e-4, "float16": 5e-2, "bfloat16": 1e-1}
"""Largest deviation of a number computed in a dtype from the same in float64."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a criterion returned.

    Attributes:
        array: On the host, in float64; without axes for a number.
        dtype: Its own, by name.
    """

    array: Array
    dtype: str

    @property
    def reduced(self) -> bool:
        """Whether it is one number."""
        return bool(self.array.ndim == 0)

    @property
    def resolution(self) -> float:
        """Largest deviation that its dtype explains."""
        return RESOLUTION.get(self.dtype, 1e-10)


def called(known: Known, thing: Any, data: Data) -> Answer:
    """Return what a recognized criterion itself gives on the data.

    Raises:
        MatchError: If weights are given that it does not take, or it refuses the data.
    """
    given = [n for n in ("sample_weight", "mask") if getattr(data, n) is not None]
    if set(given) - set(known.takes):
        raise MatchError(
            f"{known.spelled} takes {' and '.join(known.takes) or 'no weights and no mask'}",
            f"Found {' and '.join(given)}",
            "The library's loss has no such argument: it would be left out",
            "Use the preset in an objective, or multiply unreduced values by hand",
        )
    home = known.home or framework_of(data.outputs[0])
    moved = data.map(lambda a: into(home, a, known.dtype if framework_of(a) != home else None))
    arrays = (moved.outputs, moved.targets, moved.sample_weight, moved.mask)
    return answered(thing, lambda: known.call(*arrays), known.spelled, data)


def answered(thing: Any, call: Callable[[], Any], name: str, data: Data) -> Answer:
    """Call, and check what comes back.

    Raises:
        MatchError: If the call fails, or gives no array and no number.
        DomainError: If it gives NaN or inf.
    """
    with untouched(thing):
        try:
            found = call()
        except (LossLedgerError, Warning):
            raise
        except Exception as error:
            raise _refused(name, error, data) from error
    return read(found, name)


def read(found: Any, name: str) -> Answer:
    """Read what a criterion returned.

    Raises:
        MatchError: If it is no array and no number.
        DomainError: If it holds NaN or inf.
    """
    number = isinstance(found, bool | int | float)
    if not number and not (hasattr(found, "dtype") and hasattr(found, "shape")):
        empty = found is None
        raise MatchError(
            f"{name} must return a number or an array",
            f"Found {type(found).__name__}",
            "Its last line lacks `return`" if empty else "It returns several things at once",
            "Return the loss" if empty else "Wrap it in a function that returns the loss alone",
        )
    array = host(np.float64(found) if number else found).astype(np.float64)
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)]
        what = "NaN" if np.isnan(bad).any() else "inf" if bad.max() > 0 else "-inf"
        raise DomainError(
            f"{name} must give a number on this data",
            f"Found {what}"
            if array.ndim == 0
            else f"Found {what} in {bad.size} of {array.size} values",
            "Nothing counts (all labels are ignored, all weights are 0), a log of 0 or of a "
            "negative number, a root of one, a number too large for the dtype, or NaN in the data",
            "Look at the targets and outputs; explain it on a batch where it is a number",
        )
    return Answer(array, "float64" if number else dtype_of(found))


def dtype_of(array: Array) -> str:
    """Return the name of an array's dtype, whatever framework it is of."""
    name = str(array.dtype).removeprefix("torch.")
    return name.removeprefix("<dtype: '").removesuffix("'>")


def _refused(name: str, error: Exception, data: Data) -> MatchError:
    shapes = ", ".join(str(tuple(o.shape)) for o in data.outputs)
    goal = "none" if data.targets is None else str(tuple(data.targets.shape))
    return MatchError(
        f"{name} must be callable on this data",
        f"Found outputs {shapes} and targets {goal}; it raised {type(error).__name__}: {error}",
        "Shapes or dtypes are not what the loss takes, or it has other arguments",
        "Pass what the training loop passes; bind further arguments with functools.partial, "
        "and pass several outputs as a tuple",
    )
