# SPDX-License-Identifier: Apache-2.0
"""Windows of micro-batches for Keras' gradient accumulation, with the gradient of one batch.

Keras' optimizer applies (Σ gⱼ)/k after k micro-batches. Micro-batch j of a window minimises
k · part_j, its part of the window's total: coefficients of the whole window, counted first, from
targets and weights alone. Then Σ (k·∇part_j)/k is the gradient of the window in one batch.
"""

from typing import Any

import keras
import numpy as np

from lossledger._array import is_array
from lossledger._errors import MatchError, ReductionError
from lossledger._typing import Mapping, Tree
from lossledger.keras._attach import Attachment
from lossledger.keras._bank import Bank
from lossledger.keras._columns import fitted
from lossledger.keras._evaluate import Evaluator
from lossledger.keras._match import (
    names_of,
    outputs_by_name,
    targets_by_name,
    weights_by_term,
)
from lossledger.keras._part import WindowPart, accumulation_steps
from lossledger.ledger._tree import flatten


class Windows(keras.utils.PyDataset):  # type: ignore[misc]
    """Data for `fit`, in windows of as many micro-batches as the optimizer accumulates.

        model.fit(ll.keras.Windows(model, x, y, batch_size=4), epochs=10, shuffle=False)

    Each update has the gradient that the window would have in one batch, however uneven the
    parts are. A last, shorter window is split evenly over all its micro-batches, so that it ends
    with an update too and nothing is carried over into the next epoch. With fewer samples than
    micro-batches, the last ones repeat a sample with the factor 0 (layers such as
    BatchNormalization see it).

    Args:
        model: Compiled with `ll.keras.compile`, with an optimizer that has
            `gradient_accumulation_steps`.
        x: Inputs: an array, or a list or dict of them.
        y: Targets, likewise.
        sample_weight: Weights of the samples, in any form that `fit` takes.
        batch_size: Samples in one micro-batch.
        shuffle: Whether the samples change places before every pass through the data; `fit`
            must get shuffle=False, which would mix the parts of different windows.
        seed: Of the shuffle.

    With `steps_per_epoch`, a multiple of the window's micro-batches, a pass may take several
    epochs. Metrics see the weights of the samples, and each sample once.

    Raises:
        MatchError: If the model was compiled otherwise, its optimizer does not accumulate,
            `fit` asks for the parts in another order, or an epoch ends within a window.
        ReductionError: If a term needs two passes.
    """

    def __init__(
        self,
        model: Any,
        x: Tree,
        y: Tree,
        sample_weight: Tree = None,
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        """Check the terms, and count nothing yet."""
        super().__init__()
        self._attachment = _attachment_of(model)
        self.evaluate = self._attachment.evaluate
        self.steps = _steps_of(model)
        _check_terms(self.evaluate)
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.samples = int(np.shape(keras.tree.flatten(x)[0])[0])
        self.batch_size, self.shuffle = batch_size, shuffle
        self._random = np.random.default_rng(seed)
        self._order = np.arange(self.samples)
        self._shapes = self._output_shapes(model)
        self._whole: tuple[int, Any] = (-1, None)
        self._last = -1
        self._mix()

    @property
    def num_batches(self) -> int:
        """Number of micro-batches of an epoch."""
        return -(-self.samples // (self.steps * self.batch_size)) * self.steps

    def __len__(self) -> int:
        """Return the number of micro-batches of an epoch."""
        return self.num_batches

    def on_epoch_end(self) -> None:
        """Let the model check that its epoch was one of whole windows."""
        self._attachment.ended = True

    def _mix(self) -> None:
        """Shuffle for the next pass: never within one, whose windows were counted."""
        if self.shuffle:
            self._order = self._random.permutation(self.samples)
        self._whole = (-1, None)

    def __getitem__(self, index: int) -> tuple[Tree, Tree, WindowPart]:
        """Return a micro-batch and what it is a part of."""
        self._check_order(index)
        window, place = divmod(index, self.steps)
        rows = self._rows(window)
        if self._whole[0] != window:
            self._whole = (window, self._count([r for r in rows if len(r)]))
        mine = rows[place] if len(rows[place]) else rows[0]
        live = float(len(rows[place]) > 0)
        total = sum(map(len, rows))
        head = [self.steps * live, live, len(mine) / total]
        numbers = np.concatenate([head, self._whole[1]]).astype("float32")
        weight = _at(self._weights(), mine)
        part = WindowPart(weight, numbers, np.zeros(self.steps, "float32"))
        return _at(self.x, mine), _at(self.y, mine), part

    def _check_order(self, index: int) -> None:
        """Require that parts come one after the other; every pass begins with the first."""
        if index not in (0, self._last + 1):
            raise MatchError(
                "The parts of a window must come one after the other",
                f"Found part {index} after part {self._last}",
                "`fit` shuffles the order of batches unless it is told not to",
                "Pass fit(windows, shuffle=False); Windows shuffles the samples by itself",
            )
        if index == 0 and self._last > 0:
            self._mix()
        self._last = index

    def _rows(self, window: int) -> list[Any]:
        """Return the samples of a window's parts, the last window's evenly."""
        size = self.steps * self.batch_size
        own = self._order[window * size : (window + 1) * size]
        return np.array_split(own, self.steps)

    def _weights(self) -> Tree:
        """Return the weights, ones where there are none: every part has the same structure."""
        if self.sample_weight is not None:
            return self.sample_weight
        return np.ones(self.samples, "float32")

    def _count(self, rows: list[Any]) -> Any:
        """Return the numbers of a window's whole, and let the model know their structure."""
        names, objective = names_of(self.evaluate.model), self.evaluate.objective
        parts = []
        for own in rows:
            y = _at(self.y, own)
            weights = weights_by_term(objective, _at(self._weights(), own), y, names)
            shapes = {n: (len(own), *s) for n, s in self._shapes.items()}
            goals = fitted(objective, shapes, targets_by_name(objective, y, names))
            parts.append(objective.count(goals, sample_weight=weights, shapes=shapes))
        leaves: list[Any] = []
        self.evaluate.whole = flatten(sum(parts), leaves), [np.shape(leaf) for leaf in leaves]
        return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in leaves])

    def _output_shapes(self, model: Any) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the outputs by name, without `batch`."""
        objective = self.evaluate.objective
        found = model(_at(self.x, np.arange(1)), training=False)
        outputs = outputs_by_name(objective, found, names_of(model))
        reads = list(dict.fromkeys(name for term in objective.terms for name in term.outputs))
        if is_array(outputs):
            outputs = {reads[0]: outputs}
        elif isinstance(outputs, list | tuple):
            outputs = dict(zip(objective.output_names or reads, outputs, strict=True))
        return {name: tuple(outputs[name].shape)[1:] for name in reads}


def _at(tree: Tree, rows: Any) -> Tree:
    """Return some samples; a list as a tuple, as TensorFlow's data sets want it."""
    if tree is None:
        return None
    found = keras.tree.map_structure(lambda a: np.asarray(a)[rows], tree)
    return tuple(found) if isinstance(found, list) else found


def _attachment_of(model: Any) -> Attachment:
    bank = getattr(model, "_lossledger", None)
    if not isinstance(bank, Bank) or bank.attachment is None:
        raise MatchError(
            "Windows need a model that was compiled with `ll.keras.compile`",
            f"Found {type(model).__name__} without an objective",
            "It was compiled by Keras, or loaded and not restored",
            "Call ll.keras.compile(model, objective, optimizer=...)",
        )
    found: Attachment = bank.attachment
    return found


def _steps_of(model: Any) -> int:
    steps = accumulation_steps(model)
    if steps < 2:
        raise MatchError(
            "Windows need an optimizer that accumulates gradients",
            "Found one without gradient_accumulation_steps",
            "The number of micro-batches is a setting of the optimizer",
            "Build it so: keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)",
        )
    return steps


def _check_terms(evaluate: Evaluator) -> None:
    late = [(n, e) for n, e in evaluate.objective.exactness.items() if e.kind != "one_pass"]
    if late:
        name, found = late[0]
        raise ReductionError(
            "Keras' accumulation takes terms of one pass",
            f"Found `{name}`, which is `{found.kind}`: {found.reason}",
            "Its coefficients depend on the outputs of all micro-batches of the window",
            "Take the sums per sample (over='height width'), or leave `fit`: "
            "lossledger.torch.Accumulator and lossledger.jax.accumulate do both passes",
        )
