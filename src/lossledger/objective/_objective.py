# SPDX-License-Identifier: Apache-2.0
"""The objective: terms and regularizers, evaluated together."""

from typing import Any

from lossledger._array import ArrayLibrary, is_array
from lossledger._errors import MatchError
from lossledger._typing import Array, Mapping, Sequence, Tree
from lossledger.engines import Ran, Watch, account, gradient, pool, prepare, run
from lossledger.ledger import Book, Ledger, Note
from lossledger.ledger._book import keep_pool
from lossledger.ledger._tree import register
from lossledger.objective._keras_forms import terms_from_keras
from lossledger.objective._matching import Call, Given, match
from lossledger.regularizers import AbstractRegularizer, regularize
from lossledger.splitting import Exactness, Whole, exactness
from lossledger.term import Term


class Objective:
    """A training loss out of explicit parts: Σ loss_weight · term + Σ regularizer.

    Args:
        parts: Terms and regularizers.
        skip: Names of outputs (or targets) that have no loss and may be passed.

    Raises:
        MatchError: If two parts have the same name, or there is no term.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> objective = ll.Objective(ll.Term("y", ll.losses.SquaredError(), axes="batch"))
        >>> total, ledger = objective(np.array([1.0, 3.0]), np.array([0.0, 0.0]))
        >>> float(total), ledger.rows[0].count
        (5.0, 2)
    """

    def __init__(
        self, *parts: Term | AbstractRegularizer, skip: Sequence[str] = ()
    ) -> None:
        """Sort the parts and check their names."""
        self.terms = tuple(p for p in parts if isinstance(p, Term))
        self.regularizers = tuple(p for p in parts if isinstance(p, AbstractRegularizer))
        self.skip = tuple(skip)
        _check_parts(parts, self.terms)
        self._exactness = {str(t.name): exactness(t) for t in self.terms}

    @classmethod
    def from_keras(
        cls,
        loss: Any,
        loss_weights: Any = None,
        *,
        axes: Any,
        output_names: Sequence[str] | None = None,
    ) -> "Objective":
        """Build from Keras' forms of `loss` and `loss_weights`: one, a list or a dict.

        Args:
            loss: A loss (or callable), or a list or dict of them; None skips an output, a
                list inside a dict gives one output several losses.
            loss_weights: A number, list, dict or 1-d array in the same structure.
            axes: Axes of the outputs: one string for all, or a dict by output name.
            output_names: Names in the order of the lists; default output_0, output_1, ….
        """
        terms, skip = terms_from_keras(loss, loss_weights, axes, output_names)
        return cls(*terms, skip=skip)

    @property
    def exactness(self) -> dict[str, Exactness]:
        """How each term may be split, and why."""
        return dict(self._exactness)

    def __call__(
        self,
        outputs: Tree,
        targets: Tree = None,
        *,
        mask: Given = None,
        sample_weight: Given = None,
        element_weight: Given = None,
        keys: Mapping[str, Array] | None = None,
        parameters: Tree = None,
    ) -> tuple[Array, Ledger]:
        """Return (total, ledger) of a batch.

        Args:
            outputs: An array, or a tuple, list or dict of arrays by output name.
            targets: Likewise, by target name.
            mask: Which elements exist (0 or False: not); an array with the axes of the
                targets or `batch` alone, a `NamedArray`, or a dict of them by name.
            sample_weight: Weights, in the same forms.
            element_weight: Further weights, in the same forms.
            keys: Integer labels by the names that terms declare.
            parameters: For regularizers that were built without.

        Returns:
            The total, differentiable in the arrays' own library, and its ledger.
        """
        xp, watch, ran = self._run(outputs, targets, mask, sample_weight, element_weight, keys)
        return self._total(xp, watch, ran, parameters)

    def loss(self, outputs: Tree, targets: Tree = None, **options: Any) -> Array:
        """Return the total alone; options as in the call."""
        return self(outputs, targets, **options)[0]

    def values(
        self,
        outputs: Tree,
        targets: Tree = None,
        *,
        mask: Given = None,
        sample_weight: Given = None,
        element_weight: Given = None,
        keys: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Return the unreduced values of every term by name; of a loss of sums, its cells."""
        _, _, ran = self._run(outputs, targets, mask, sample_weight, element_weight, keys)
        return {
            str(r.prepared.term.name): r.values if r.overlap is None else r.overlap.cells
            for r in ran
        }

    def value_and_grad(
        self, outputs: Tree, targets: Tree = None, *, parameters: Tree = None, **options: Any
    ) -> tuple[Array, Ledger, Tree]:
        """Return (total, ledger, gradient) with closed-form derivatives: NumPy needs no autodiff.

        The gradient has the structure of `outputs`; regularizers do not depend on outputs.
        """
        given = {n: options.pop(n, None) for n in ("mask", "sample_weight", "element_weight")}
        xp, watch, ran = self._run(outputs, targets, *given.values(), options.pop("keys", None))
        if options:
            raise TypeError(f"value_and_grad() got unexpected options {sorted(options)}")
        total, ledger = self._total(xp, watch, ran, parameters)
        slopes: dict[str, Array] = {}
        for each in ran:
            term = each.prepared.term
            found = gradient(each, float(term.loss_weight))
            for name, slope in zip(term.outputs, found, strict=True):
                slopes[name] = slopes[name] + slope if name in slopes else slope
        return total, ledger, _like(outputs, slopes)

    def statistics(self, outputs: Tree, targets: Tree = None, **options: Any) -> Whole:
        """Return the batch's mergeable statistics, detached; options as in the call."""
        given = [options.get(n) for n in ("mask", "sample_weight", "element_weight", "keys")]
        xp, _, ran = self._run(outputs, targets, *given)
        first = ran[0].prepared
        axes = first.inputs.frame
        return Whole(
            {str(r.prepared.term.name): pool(r) for r in ran},
            {str(r.prepared.term.name): _weight(xp, r) for r in ran},
            axes.length("batch") if "batch" in axes.axes else 1,
            1,
        )

    def _run(
        self,
        outputs: Tree,
        targets: Tree,
        mask: Given,
        sample_weight: Given,
        element_weight: Given,
        keys: Mapping[str, Array] | None,
    ) -> tuple[ArrayLibrary, Watch, list[Ran]]:
        given = {"mask": mask, "sample_weight": sample_weight, "element_weight": element_weight}
        call = match(self.terms, self.skip, outputs, targets, given, keys or {})
        watch = Watch(call.xp)
        return call.xp, watch, [_run_term(term, call, watch) for term in self.terms]

    def _total(
        self, xp: ArrayLibrary, watch: Watch, ran: list[Ran], parameters: Tree
    ) -> tuple[Array, Ledger]:
        total: Any = 0.0
        books = []
        for each in ran:
            weight = _weight(xp, each)
            total = total + each.value * weight
            books.append(self._book(each, weight))
        amounts = []
        for regularizer in self.regularizers:
            amount = regularize(regularizer, parameters)
            total = total + amount
            amounts.append((regularizer.name, xp.astype(xp.detach(amount), xp.wide(amount))))
        total = watch.guard(total)
        register(xp, Ledger)
        summed = xp.astype(xp.detach(total), xp.wide(total))
        ledger = Ledger(tuple(books), tuple(amounts), summed, 1.0, watch.status)
        return total, ledger

    def _book(self, ran: Ran, weight: Array) -> Book:
        term = ran.prepared.term
        booked, cells = account(ran, weight)
        split = self._exactness[str(term.name)]
        note = Note(
            str(term.name), ", ".join(term.outputs), cells, term.class_names,
            str(term.reduction), split.kind, split.reason,
        )  # fmt: skip
        return Book(note, booked, keep_pool(pool(ran)))


def _run_term(term: Term, call: Call, watch: Watch) -> Ran:
    outputs = tuple(call.outputs[n] for n in term.outputs)
    targets = None if term.target is None else call.targets[term.target]
    return run(prepare(term, outputs, targets, call.weights[str(term.name)], watch))


def _weight(xp: ArrayLibrary, ran: Ran) -> Array:
    weight = ran.prepared.term.loss_weight
    return xp.asarray(weight, xp.dtype(ran.value), ran.value) if not is_array(weight) else weight


def _like(outputs: Tree, slopes: Mapping[str, Array]) -> Tree:
    if isinstance(outputs, Mapping):
        return dict(slopes)
    if isinstance(outputs, tuple | list):
        return type(outputs)(slopes.values())
    return next(iter(slopes.values()))


def _check_parts(parts: tuple[Any, ...], terms: tuple[Term, ...]) -> None:
    strangers = [p for p in parts if not isinstance(p, Term | AbstractRegularizer)]
    if strangers or not terms:
        raise MatchError(
            "An objective is made of terms and regularizers, with at least one term",
            f"Found {', '.join(type(p).__name__ for p in parts) or 'nothing'}",
            "A loss was passed without ll.Term(...) around it",
            "Write ll.Term('output', loss, axes='batch class')",
        )
    names = [str(p.name) for p in parts]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise MatchError(
            "Every term and regularizer needs its own name",
            f"Found {', '.join(twice)} more than once",
            "Two terms use the same kind of loss",
            "Give them names: ll.Term(..., name='...')",
        )
