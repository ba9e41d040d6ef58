# SPDX-License-Identifier: Apache-2.0
"""A Keras metric that holds an epoch's ledger on the device, through compiled steps."""

import sys
from typing import Any

import keras
import numpy as np

from lossledger._array import library_of
from lossledger._errors import MatchError
from lossledger._typing import Array, Mapping, Sequence
from lossledger.keras._held import Held
from lossledger.keras._layout import HEAD, LAYOUTS, Layout, pack, unpack
from lossledger.keras._logs import Logs, logs_of
from lossledger.keras._private import in_symbolic_scope, uncompiled
from lossledger.keras._steps import Steps
from lossledger.ledger import Ledger
from lossledger.term import Term

_EXACT = 1 << 24


class Bank(keras.metrics.Metric):  # type: ignore[misc]
    """The sums of the steps since the last reset; Keras resets it and prints its numbers.

    Args:
        terms: Whose ledgers are added up.
        weights: Loss weights that live with it: variables by term, which a reset leaves alone.
        log_classes: Whether the logs have a number for every class.
    """

    def __init__(
        self, terms: Sequence[Term], weights: Mapping[str, Any], *, log_classes: bool
    ) -> None:
        """Start without variables: their sizes follow from the first ledger."""
        super().__init__(name="lossledger")
        self.terms = {term.name: term for term in terms}
        self.log_classes = log_classes
        self.attachment: Any = None
        self._live = frozenset(weights)
        self._weights = tuple(weights.values())
        self._held: Held | None = None
        self._layouts: tuple[Layout, ...] = ()
        self._current: Layout | None = None
        self._kept_logs: dict[int, Logs] = {}
        self._read_logs = uncompiled(self._find_logs)
        self._steps = Steps(self.terms, self._live)

    @property
    def variables(self) -> list[Any]:
        """Return the sums and the loss weights."""
        held = [] if self._held is None else [self._held.variable]
        return [*held, *self._weights]

    def reset_state(self) -> None:
        """Forget the steps; loss weights stay."""
        self._steps.clear()
        if self._held is not None:
            self._held.reset()

    def close(self) -> None:
        """Give up the sums and the logs: nothing is booked any more."""
        self._held, self._current, self.attachment = None, None, None
        self._steps.clear()

    def allocate(self, size: int, same: int, wide: str) -> None:
        """Make the variable, with pairs of 32-bit floats where there are no others."""
        self._held = Held(size, same, wide)

    def update(
        self,
        ledger: Ledger,
        like: Array,
        *,
        training: bool,
        live: Array | None = None,
        largest: int | None = None,
    ) -> None:
        """Add a step's ledger; nothing, where `live` is 0.

        Args:
            ledger: Of the step.
            like: Says where the sums are.
            training: Whether the step trains.
            live: 0 for a step that is to be left out.
            largest: Most elements that an array of the step has, if that is known.

        Raises:
            MatchError: If it needs more room than there is, in a step that cannot make it; where
                steps are kept, whenever they are read.
        """
        xp = library_of(like)
        wide = xp.wide(like)
        if xp.name == "torch" and wide == "float64" and like.is_cpu:
            self._keep_step(ledger, live, training=training)
            return

        def tail(layout: Layout) -> Any:
            self._make_room(layout, wide)
            return self._tail(layout, 1, int(training))

        # Even pairs of elements are counted exactly by a 32-bit float then.
        small = largest is not None and largest**2 <= _EXACT
        terms = tuple(self.terms.values())
        packed = pack(xp, ledger, terms, self._live, like, tail, small=small)
        self._current = self._layouts[self._index(packed.layout)]
        steps = packed.vectors
        if live is not None:
            steps = tuple(step * xp.astype(live, xp.dtype(step)) for step in steps)
        self._room.add(xp, steps, packed.same)

    def _keep_step(self, ledger: Ledger, live: Array | None, *, training: bool) -> None:
        """Keep a step's ledger as it is: nothing is compiled, and everything is on the host."""
        if live is None or float(live):
            self._steps.add(ledger, training=training)
        if self._steps.full:
            self._add_up()

    def _add_up(self) -> None:
        """Add the steps that were kept to the sums."""
        if not len(self._steps):
            return
        xp = library_of(keras.ops.zeros(()))
        runs = self._steps.summed(xp)
        for found in runs:  # before anything is added: an error leaves all steps waiting
            self._make_room(found.layout, "float64")
            self._index(found.layout)
        for found in runs:
            self._current = self._layouts[self._index(found.layout)]
            tail = self._tail(found.layout, found.steps, found.training)
            vector = np.concatenate([found.vector, tail])
            held = self._room.variable.value
            steps = (xp.asarray(vector, "float64", held),)
            same = xp.asarray(found.same, "float64", held) if found.same.size else None
            self._room.add(xp, steps, same)
        self._steps.taken()

    def result(self) -> dict[str, Any]:
        """Return the numbers for the logs by name; nothing before the first step."""
        found: dict[str, Any] = self._read_logs()
        return found

    def _find_logs(self) -> dict[str, Any]:
        running = self._steps.logs()
        if running and not self.log_classes:
            return running
        self._add_up()
        if self._held is None or self._current is None:
            return {}
        layout, vector = self._current, self._held.vector()
        # A compiled step that is not traced again leaves `current` as an evaluation left it.
        if keras.backend.backend() != "torch" and not tracing(vector):
            layout = self._known(self._held.on_host()[0]) or layout
        return self._logs(layout).read(library_of(vector), vector)

    def names(self) -> tuple[str, ...]:
        """Return the names of the logs, as far as they are known."""
        self._add_up()
        return () if self._current is None else self._logs(self._current).names

    def read(self) -> tuple[Ledger, bool] | None:
        """Return the ledger of the steps, and whether they trained; None if there were none.

        Raises:
            MatchError: If steps of several kinds were mixed, or steps that trained with others.
        """
        self._add_up()
        if self._held is None:
            return None
        vector, same = self._held.on_host()
        layout = self._known(vector)
        if layout is None:
            return None
        steps, trained = vector[-HEAD], vector[-HEAD + 1]
        if 0 < trained < steps:
            raise MatchError(
                "A ledger must be of steps that train, or of steps that evaluate",
                f"Found {trained:g} of {steps:g} steps since the last reset that trained",
                "`evaluate` ran in the middle of an epoch: Keras' own numbers are mixed as well",
                "Evaluate between epochs, or call model.reset_metrics() before and after",
            )
        return unpack(layout, vector, same, self.terms), bool(trained)

    def _known(self, vector: Any) -> Layout | None:
        """Return of which kind the steps were."""
        kinds = np.flatnonzero(vector[-LAYOUTS - 1 : -1])
        if len(kinds) > 1:
            raise MatchError(
                "All batches of an epoch must give ledgers of one kind",
                f"Found {len(kinds)} kinds of steps since the last reset",
                "Some batches have weights or masks, or targets of another form, and others not",
                "Give every batch of an epoch the same structure: weights of 1 where there are "
                "none",
            )
        return self._layouts[kinds[0]] if len(kinds) else None

    def _make_room(self, layout: Layout, wide: str) -> None:
        size, same = layout.size, layout.same_size
        held = self._held
        if held is not None and held.capacity >= size and held.same_capacity >= same:
            return
        if held is not None or (keras.backend.backend() == "jax" and not in_symbolic_scope()):
            raise MatchError(
                "The rows of a ledger must be known before a compiled step",
                f"Found {size} sums where there is room for {0 if held is None else held.capacity}",
                "The model is not built by Keras' `fit`, or its outputs changed since",
                "Name the classes in every term (classes=...), and compile again",
            )
        self.allocate(size, same, wide)

    @property
    def _room(self) -> Held:
        assert self._held is not None  # noqa: S101 - `_make_room` comes before
        return self._held

    def _tail(self, layout: Layout, steps: int, training: int) -> Any:
        """Return what follows the sums of steps, up to the length of the variables."""
        tail = np.zeros(self._room.capacity + HEAD - layout.size)
        tail[-HEAD], tail[-HEAD + 1] = steps, training
        tail[-LAYOUTS - 1 + self._index(layout)] = steps
        return tail

    def _index(self, layout: Layout) -> int:
        if layout not in self._layouts:
            if len(self._layouts) == LAYOUTS:
                raise MatchError(
                    f"A model can take steps of at most {LAYOUTS} kinds",
                    "Found one more",
                    "The structure of targets, weights or masks changes from call to call",
                    "Compile the model again, and give all data the same structure",
                )
            self._layouts = (*self._layouts, layout)
        return self._layouts.index(layout)

    def _logs(self, layout: Layout) -> Logs:
        known = self._kept_logs.get(id(layout))  # to hash a layout takes longer than to read it
        if known is None:
            known = self._kept_logs[id(layout)] = logs_of(layout, self.log_classes)
        return known


def tracing(value: Any) -> bool:
    """Whether numbers cannot be read now, because a step is being compiled."""
    name = keras.backend.backend()
    if name == "jax":
        return isinstance(value, sys.modules["jax"].core.Tracer)
    if name == "tensorflow":
        return not sys.modules["tensorflow"].executing_eagerly()
    compiling: bool = sys.modules["torch"].compiler.is_compiling()
    return compiling
