# SPDX-License-Identifier: Apache-2.0
"""The objective: terms and regularizers, evaluated together."""

from dataclasses import replace
from typing import Any

from lossledger._array import ArrayLibrary, resolve_imported
from lossledger._errors import MatchError
from lossledger._typing import Array, Mapping, Sequence, Tree
from lossledger.engines import (
    Ran,
    Result,
    Watch,
    compute,
    gradient,
    growing,
    lean_plan,
    prepare,
    result_of,
    run,
    run_lean,
)
from lossledger.ledger import Book, Ledger, Note
from lossledger.ledger._book import keep_pool
from lossledger.ledger._tree import register
from lossledger.objective._keras_forms import terms_from_keras
from lossledger.objective._matching import (
    Call,
    Given,
    check_output_names,
    match,
    match_targets,
)
from lossledger.objective._parts import (
    OpenPart,
    close_parts,
    counted_whole,
    open_terms,
    read,
    whole_of,
)
from lossledger.objective._state import check_regularizers, load
from lossledger.regularizers import AbstractRegularizer, regularize
from lossledger.splitting import Exactness, Whole, exactness
from lossledger.term import Term


class Objective:
    """A training loss out of explicit parts: Σ loss_weight · term + Σ regularizer.

    Args:
        parts: Terms and regularizers.
        skip: Names of outputs (or targets) that have no loss and may be passed.
        output_names: Names of all outputs in the order of tuples and lists; left out, they
            hold the outputs in the order in which the terms first read them.

    Raises:
        MatchError: If two parts have the same name, there is no term, or `output_names`
            are not the names read and skipped.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> objective = ll.Objective(ll.Term("y", ll.losses.SquaredError(), axes="batch"))
        >>> total, ledger = objective(np.array([1.0, 3.0]), np.array([0.0, 0.0]))
        >>> float(total), ledger.rows[0].count
        (5.0, 2)
    """

    def __init__(
        self,
        *parts: Term | AbstractRegularizer,
        skip: Sequence[str] = (),
        output_names: Sequence[str] = (),
    ) -> None:
        """Sort the parts and check their names."""
        compiling = resolve_imported()
        if compiling is not None:
            register(compiling, Ledger)
        self.terms = tuple(p for p in parts if isinstance(p, Term))
        self.regularizers = tuple(p for p in parts if isinstance(p, AbstractRegularizer))
        self.skip, self.output_names = tuple(skip), tuple(output_names)
        _check_parts(parts, self.terms)
        check_output_names(self.terms, self.skip, self.output_names)
        self._exactness = {t.name: exactness(t) for t in self.terms}
        self._notes = {n: _note(t, self._exactness[n]) for n, t in _by_name(self.terms)}
        alone = len(self.terms) == 1 and not self.regularizers
        self._plain = lean_plan(self.terms[0]) if alone else None

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
            loss: A loss (or callable) for every output, or a list or dict of them; None
                skips an output, a list inside gives one output several losses.
            loss_weights: A list, dict or 1-d array in the same structure, or one number.
            axes: Axes of the outputs: one string for all, or a dict by output name.
            output_names: Names in the order of the lists; default output_0, output_1, ….
        """
        terms, skip, names = terms_from_keras(loss, loss_weights, axes, output_names)
        return cls(*terms, skip=skip, output_names=names)

    @property
    def exactness(self) -> dict[str, Exactness]:
        """How each term may be split, and why."""
        return dict(self._exactness)

    def __call__(  # noqa: PLR0913 - each is an argument that callers name
        self,
        outputs: Tree,
        targets: Tree = None,
        *,
        mask: Given = None,
        sample_weight: Given = None,
        element_weight: Given = None,
        keys: Mapping[str, Array] | None = None,
        parameters: Tree = None,
        whole: Whole | None = None,
        part: int | Array | None = None,
    ) -> tuple[Array, Ledger]:
        """Return (total, ledger) of a batch, or of a part of a whole.

        Args:
            outputs: An array, or a tuple, list or dict of arrays by output name.
            targets: Likewise, by target name.
            mask: Which elements exist (0 or False: not); an array with the axes of the
                targets or `batch` alone, a `NamedArray`, or a dict of them by name.
            sample_weight: Weights, in the same forms.
            element_weight: Further weights, in the same forms.
            keys: Integer labels by the names that terms declare.
            parameters: For regularizers that were built without.
            whole: What the batch is a part of: `sum(objective.count(...) for each part)`, or
                of `objective.statistics(...)`. Totals, gradients and ledgers of the parts
                then add up to those of the whole; only first derivatives are right.
            part: Place of the batch in that sum. Terms of one pass do without, but for the
                check that it belongs to the whole.

        Returns:
            The total, differentiable in the arrays' own library, and its ledger.
        """
        bare = mask is None and sample_weight is None and element_weight is None and not keys
        if bare and self._plain is not None and whole is None and part is None:
            lean = run_lean(self._plain, outputs, targets)
            if lean is not None:
                return lean.weighted, self._lean_ledger(lean)
        call = self._match(outputs, targets, mask, sample_weight, element_weight, keys)
        watch = Watch(call.xp)
        if whole is not None or part is not None:
            closed = close_parts(self.terms, self._exactness, call, whole, part, watch)
            return self._total(call.xp, watch, closed.results(), parameters, closed.share)
        results = [compute(t, *read(t, call), watch) for t in self.terms]
        return self._total(call.xp, watch, results, parameters)

    def loss(self, outputs: Tree, targets: Tree = None, **arguments: Any) -> Array:
        """Return the total alone; arguments as in the call."""
        total, _ = self(outputs, targets, **arguments)
        return total

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
        call = self._match(outputs, targets, mask, sample_weight, element_weight, keys)
        watch = Watch(call.xp)
        ran = self._run(call, watch)
        found = {}
        for each in ran:
            cells = each.values if each.overlap is None else each.overlap.cells
            found[each.prepared.term.name] = watch.guard(cells)
        return found

    def value_and_grad(  # noqa: PLR0913 - those of the call
        self,
        outputs: Tree,
        targets: Tree = None,
        *,
        mask: Given = None,
        sample_weight: Given = None,
        element_weight: Given = None,
        keys: Mapping[str, Array] | None = None,
        parameters: Tree = None,
        whole: Whole | None = None,
        part: int | Array | None = None,
    ) -> tuple[Array, Ledger, Tree]:
        """Return (total, ledger, gradient) by closed-form derivatives: NumPy has no autodiff.

        The gradient has the structure of `outputs`; regularizers do not depend on outputs.
        The total holds no graph of the outputs: its gradient is given here.
        """
        call = self._match(outputs, targets, mask, sample_weight, element_weight, keys)
        bare = {name: call.xp.detach(array) for name, array in call.outputs.items()}
        call = replace(call, outputs=bare)
        watch = Watch(call.xp)
        if whole is None and part is None:
            ran, share = self._run(call, watch), None
            results = [result_of(r) for r in ran]
        else:
            closed = close_parts(self.terms, self._exactness, call, whole, part, watch)
            ran, share, results = closed.ran, closed.share, closed.results()
        total, ledger = self._total(call.xp, watch, results, parameters, share)
        slopes: dict[str, Array] = {}
        for each in ran:
            term = each.prepared.term
            found = gradient(each, float(term.loss_weight))
            for name, slope in zip(term.outputs, found, strict=True):
                slopes[name] = slopes[name] + slope if name in slopes else slope
        return total, ledger, call.like(outputs, slopes)

    def statistics(
        self,
        outputs: Tree,
        targets: Tree = None,
        *,
        mask: Given = None,
        sample_weight: Given = None,
        element_weight: Given = None,
        keys: Mapping[str, Array] | None = None,
    ) -> Whole:
        """Return the batch's mergeable statistics, detached; arguments as in the call."""
        call = self._match(outputs, targets, mask, sample_weight, element_weight, keys)
        bare = {name: call.xp.detach(array) for name, array in call.outputs.items()}
        watch = Watch(call.xp)
        opened = open_terms(self.terms, replace(call, outputs=bare), watch)
        return whole_of(opened, self._exactness, watch)

    def open(
        self,
        outputs: Tree,
        targets: Tree = None,
        *,
        mask: Given = None,
        sample_weight: Given = None,
        element_weight: Given = None,
        keys: Mapping[str, Array] | None = None,
    ) -> OpenPart:
        """Run the losses on a part and keep their graph; `close(whole, part)` ends the call.

        For loops that keep their outputs: nothing is computed twice, as it is by
        `statistics(...)` first and the call after it. Arguments as in the call.
        """
        call = self._match(outputs, targets, mask, sample_weight, element_weight, keys)
        watch = Watch(call.xp)
        opened = open_terms(self.terms, call, watch)

        def total(watch: Watch, results: list[Result], share: float | Array) -> Any:
            return self._total(watch.xp, watch, results, None, share)

        own = whole_of(opened, self._exactness, watch)
        return OpenPart(own, opened, watch, self.terms, self._exactness, total)

    def count(
        self,
        targets: Tree = None,
        *,
        mask: Given = None,
        sample_weight: Given = None,
        element_weight: Given = None,
        keys: Mapping[str, Array] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Whole:
        """Return the batch's denominators, which need no outputs: terms of one pass alone.

        Args:
            targets: As in the call.
            mask: As in the call.
            sample_weight: As in the call.
            element_weight: As in the call.
            keys: As in the call.
            shapes: Shapes of the outputs by name, where targets do not have the same axes.

        Raises:
            ReductionError: If a term's denominators depend on outputs.
        """
        given = {"mask": mask, "sample_weight": sample_weight, "element_weight": element_weight}
        call = match_targets(self.terms, self.skip, self.output_names, targets, given, keys or {})
        return counted_whole(self.terms, self._exactness, call, shapes or {}, Watch(call.xp))

    def load_ledger(self, state: Mapping[str, Any]) -> Ledger:
        """Return the ledger that `ledger.state_dict()` saved, in NumPy arrays.

        It adds up with ledgers of any array library, on the host.

        Raises:
            MatchError: If the state is of other terms or settings, of another version, or
                incomplete.
        """
        ledger: Ledger = load(Ledger, state, self.terms, self._notes)
        check_regularizers([r.name for r in self.regularizers], ledger)
        return ledger

    def load_whole(self, state: Mapping[str, Any]) -> Whole:
        """Return the statistics that `whole.state_dict()` saved, in NumPy arrays.

        Raises:
            MatchError: As for `load_ledger`.
        """
        whole: Whole = load(Whole, state, self.terms, self._notes)
        return whole

    def _match(
        self,
        outputs: Tree,
        targets: Tree,
        mask: Given,
        sample_weight: Given,
        element_weight: Given,
        keys: Mapping[str, Array] | None,
    ) -> Call:
        given = {"mask": mask, "sample_weight": sample_weight, "element_weight": element_weight}
        return match(self.terms, self.skip, self.output_names, outputs, targets, given, keys or {})

    def _run(self, call: Call, watch: Watch) -> list[Ran]:
        return [run(prepare(t, *read(t, call), watch), watch) for t in self.terms]

    def _total(
        self,
        xp: ArrayLibrary,
        watch: Watch,
        results: list[Result],
        parameters: Tree,
        share: float | Array | None = None,
    ) -> tuple[Array, Ledger]:
        total = results[0].weighted
        for result in results[1:]:
            total = total + result.weighted
        amounts = []
        for regularizer in self.regularizers:
            amount = regularize(regularizer, parameters)
            amount = amount if share is None else amount * share
            total = total + amount
            kept = xp.astype(xp.detach(amount), xp.wide(amount))
            amounts.append((regularizer.name, growing(xp, kept)))
        total = watch.guard(total)
        register(xp, Ledger)
        summed = growing(xp, xp.astype(xp.detach(total), xp.wide(total)))
        pairs = zip(self.terms, results, strict=True)
        books = tuple(self._book(term, result) for term, result in pairs)
        wholes = 1.0 if share is None else share
        return total, Ledger(books, tuple(amounts), summed, wholes, watch.report(total))

    def _lean_ledger(self, result: Result) -> Ledger:
        book = self._book(self.terms[0], result)
        return Ledger((book,), (), result.account.total, 1.0, None)

    def _book(self, term: Term, result: Result) -> Book:
        note = self._notes[term.name]
        return Book(note, result.cells, result.account, keep_pool(result.pool))


def _note(term: Term, split: Exactness) -> Note:
    return Note(
        term.name, ", ".join(term.outputs), term.class_names, tuple(term.key_names.items()),
        str(term.reduction), split.kind, split.reason,
    )  # fmt: skip


def _by_name(terms: tuple[Term, ...]) -> list[tuple[str, Term]]:
    return [(term.name, term) for term in terms]


def _check_parts(parts: tuple[Any, ...], terms: tuple[Term, ...]) -> None:
    strangers = [p for p in parts if not isinstance(p, Term | AbstractRegularizer)]
    if strangers or not terms:
        raise MatchError(
            "An objective is made of terms and regularizers, with at least one term",
            f"Found {', '.join(type(p).__name__ for p in parts) or 'nothing'}",
            "A loss was passed without ll.Term(...) around it",
            "Write ll.Term('output', loss, axes='batch class')",
        )
    names = [p.name for p in parts]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise MatchError(
            "Every term and regularizer needs its own name",
            f"Found {', '.join(twice)} more than once",
            "Two terms use the same kind of loss",
            "Give them names: ll.Term(..., name='...')",
        )
