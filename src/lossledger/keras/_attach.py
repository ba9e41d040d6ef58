# SPDX-License-Identifier: Apache-2.0
"""What is put on a model, and taken from it: its loss, its metric, its ledgers."""

from math import prod
from typing import Any

import keras

from lossledger._errors import MatchError
from lossledger._typing import Array, Callable, Tree
from lossledger.keras._bank import Bank, tracing
from lossledger.keras._evaluate import Evaluator
from lossledger.keras._part import WindowPart, check_whole, check_window
from lossledger.keras._private import (
    attach_metric,
    in_symbolic_scope,
    mark_loss_built,
    mask_of,
    put_mask,
    uncompiled,
)
from lossledger.keras._shapes import ByShape
from lossledger.ledger import Ledger

_OVERRIDES = ("compute_loss", "compute_metrics", "get_metrics_result")
_RESULTS = ("ledger", "val_ledger", "loss_weights")
_MAKERS = {"make_train_function": "train_function", "make_test_function": "test_function"}


class Attachment:
    """The methods of a model that are replaced on the instance, and the bank behind them.

    Args:
        model: What they are put on.
        evaluate: The objective.
        bank: Where its ledgers are added up.
        minimised: Whether the objective is the loss; otherwise it runs beside the model's own.
        holds: Whether the model is still compiled with what was attached.

    Attributes:
        ended: Whether windows have come to the end of an epoch since a ledger was read.
        ledgers: Those of the last epoch and the last evaluation, by their names on the model.
    """

    def __init__(
        self,
        model: Any,
        evaluate: Evaluator,
        bank: Bank,
        *,
        minimised: bool,
        holds: Callable[[], bool],
    ) -> None:
        """Remember what the methods were."""
        self.model, self.evaluate, self.bank = model, evaluate, bank
        self.minimised, self.holds = minimised, holds
        methods: tuple[str, ...] = _OVERRIDES
        if keras.backend.backend() == "tensorflow" and not model.run_eagerly:
            methods += tuple(_MAKERS)
        self._own = {name: getattr(model, name) for name in methods}
        self._on_instance = {name for name in methods if name in vars(model)}
        self._inside = False
        self.ended = False
        self.ledgers: dict[str, Ledger] = {}

    def put(self, name: str) -> None:
        """Put the methods and the bank on the model; steps are compiled again."""
        for name_of_method in self._own:
            method = getattr(self, name_of_method)
            compiled = self.model.jit_compile  # the wrapper costs a small step something
            setattr(self.model, name_of_method, uncompiled(method) if compiled else method)
        attach_metric(self.model, name, self.bank)
        forget_steps(self.model)

    def take(self, *, running: bool = False) -> None:
        """Give the model its methods back; a step that is `running` stays the model's own."""
        for name, method in self._own.items():
            if name in self._on_instance:
                setattr(self.model, name, method)
            elif name in vars(self.model):
                delattr(self.model, name)
        self.bank.close()
        if self.minimised:  # they are of a loss that the model no longer has
            for name in {*_RESULTS} & {*vars(self.model)}:
                delattr(self.model, name)
        if not running:
            forget_steps(self.model)

    def compute_loss(
        self,
        x: Tree = None,
        y: Tree = None,
        y_pred: Tree = None,
        sample_weight: Tree = None,
        training: bool = True,
    ) -> Array:
        """Return what is minimised, and book it."""
        if not self.holds():
            self.take(running=True)
            return self.model.compute_loss(x, y, y_pred, sample_weight, training)
        # There PyTorch's tensors have no numbers, and nothing has to be made in advance.
        bare = keras.backend.backend() == "torch" and in_symbolic_scope()
        if self.minimised:
            if in_symbolic_scope():
                mark_loss_built(self.model, built=True)
            if bare:
                return keras.ops.zeros(())
            check_window(self.model, sample_weight, bool(training))
            total, ledger = self.evaluate(y, y_pred, sample_weight)
        else:
            total = self._own["compute_loss"](x, y, y_pred, sample_weight, training)
            if bare:
                return total
            _, ledger = self.evaluate(y, _apart(y_pred), sample_weight)
        live = sample_weight.numbers[1] if isinstance(sample_weight, WindowPart) else None
        largest = _largest(y, y_pred)
        self.bank.update(ledger, total, training=bool(training), live=live, largest=largest)
        return total

    def make_train_function(self, force: bool = False) -> Any:
        """Make a step for each shape of a batch."""
        return self._make("make_train_function", force)

    def make_test_function(self, force: bool = False) -> Any:
        """Make a step for each shape of a batch."""
        return self._make("make_test_function", force)

    def compute_metrics(
        self, x: Tree, y: Tree, y_pred: Tree, sample_weight: Tree = None
    ) -> dict[str, Any]:
        """Return the logs of a step: its ledger is not read.

        Metrics get the weights of a part of a window, and nothing of a part that does not count.
        """
        part = sample_weight if isinstance(sample_weight, WindowPart) else None
        given = sample_weight if part is None else part.sample_weight
        held = [] if part is None else [(v, keras.ops.copy(v.value)) for v in self._counts()]
        self._inside = True
        try:
            found: dict[str, Any] = self._own["compute_metrics"](x, y, y_pred, given)
            for variable, before in held:
                live = part.numbers[1] > 0  # type: ignore[union-attr]  # held: there is a part
                variable.assign(keras.ops.where(live, variable.value, before))
        finally:
            self._inside = False
        return found

    def _counts(self) -> list[Any]:
        """Return what the compiled metrics count in."""
        return [v for m in self.model.metrics if m is not self.bank for v in m.variables]

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the logs; at the end of an epoch or an evaluation, keep its ledger."""
        found: dict[str, Any] = self._own["get_metrics_result"]()
        if not self._inside and not tracing(next(iter(found.values()), None)):
            self._check_names()
            self.keep()
        return found

    def keep(self) -> None:
        """Read the ledger of the steps so far, and put it on the model."""
        read = self.bank.read()
        if read is not None:
            ledger, training = read
            if training and self.ended:
                check_whole(self.model, ledger)
            self.ended = False
            name = "ledger" if training else "val_ledger"
            self.ledgers[name] = ledger
            setattr(self.model, name, ledger)

    def _make(self, maker: str, force: bool) -> Any:
        name = _MAKERS[maker]
        if force or getattr(self.model, name) is None:
            setattr(self.model, name, ByShape(self.model, name, self._own[maker]))
        return getattr(self.model, name)

    def _check_names(self) -> None:
        names = self.bank.names()
        mine = set(names)
        others = {name for m in self.model.metrics if m is not self.bank for name in _names(m)}
        twice = (mine & others) | {name for name in mine if names.count(name) > 1}
        if twice:
            raise MatchError(
                "Terms, regularizers and metrics of a model need different names in the logs",
                f"Found {', '.join(sorted(twice))} twice",
                "A term has the name of a metric, or is called `loss` or `model_losses`",
                "Give the term another name: ll.Term(..., name=...)",
            )


def forget_steps(model: Any) -> None:
    """Let Keras compile its steps again: those that exist have the old loss in them."""
    model.train_function = model.test_function = None


def _largest(*trees: Tree) -> int | None:
    """Return the most elements that an array has; None if a length is not known."""
    found = [tuple(getattr(x, "shape", ())) for x in keras.tree.flatten(trees)]
    shapes: list[tuple[int | None, ...]] = found
    if any(n is None for shape in shapes for n in shape):
        return None
    return max(prod(n or 0 for n in shape) for shape in shapes)


def _names(metric: Any) -> list[str]:
    result = metric.result() if getattr(metric, "built", True) else {}
    return list(result) if isinstance(result, dict) else [metric.name]


def _apart(outputs: Tree) -> Tree:
    """Return outputs through which no gradient flows; masks stay on them."""
    return keras.tree.map_structure(_stopped, outputs)


def _stopped(output: Any) -> Any:
    found = keras.ops.stop_gradient(output)
    mask = mask_of(output)
    if mask is not None:
        put_mask(found, mask)
    return found
