# SPDX-License-Identifier: Apache-2.0
"""Presets against the installed libraries: value and gradient, and the table in the docs.

A case is a preset, the library's own call, and arrays. It is checked with the arrays as
NumPy's (closed-form gradient), PyTorch's and JAX's (their own autodiff).
"""

import functools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lossledger.presets._base import AbstractLibraryLoss

PAGE = Path(__file__).parent.parent / "docs" / "presets" / "conformance.md"
TIGHT = 1e-9
"""Largest deviation in float64, relative to the largest number of the answer (at least 1)."""

# Each case is compiled for one batch: what XLA would spend on making it fast is not won back.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

SINGLE = 1e-5
"""The same where the library computes in float32."""


@dataclass(frozen=True)
class Case:
    """One configuration of a library's loss on one batch.

    Attributes:
        loss: The library's name of the loss.
        preset: The same loss here.
        theirs: (outputs, targets, sample_weight, mask), NumPy arrays in float64 -> (value,
            gradient for each output), NumPy arrays; the gradient of the sum for "none".
        outputs, targets, sample_weight, mask: NumPy arrays.
        within: Largest deviation.
        differs: Why the two do not agree, if they are known not to; then they must not.
        ours: Which array libraries ours is checked in.
        gradient: False only where the library itself gives none.
    """

    loss: str
    preset: AbstractLibraryLoss
    theirs: Callable[..., tuple[Any, Sequence[Any]]]
    outputs: tuple[Any, ...]
    targets: Any = None
    sample_weight: Any = None
    mask: Any = None
    within: float = TIGHT
    differs: str = ""
    ours: tuple[str, ...] = ("numpy", "torch")
    gradient: bool = True

    @property
    def id(self) -> str:
        """A name for the test run."""
        options = {n: v for n, v in vars(self.preset).items() if not hasattr(v, "shape")}
        shown = ",".join(f"{n}={v}" for n, v in options.items() if v is not None)
        return re.sub(r"\s+", "", f"{self.loss}({shown})")[:150]


@dataclass
class Tally:
    """What the cases of one loss gave."""

    cases: int = 0
    values: int = 0
    gradients: int = 0
    largest: float = 0.0
    reasons: list[str] = field(default_factory=list)


def deviations(case: Case) -> dict[str, tuple[float, float | None]]:
    """Return (value's, gradient's) deviation by array library; None: not to be had."""
    arrays = (case.targets, case.sample_weight, case.mask)
    value, slopes = case.theirs(case.outputs, *arrays)
    found = {}
    for name in case.ours:
        mine, own = RUNS[name](case.preset, case.outputs, *arrays)
        far = [] if own is None or not case.gradient else [*map(deviation, own, slopes)]
        found[name] = (deviation(mine, value), max(far) if far else None)
    return found


def deviation(mine: Any, theirs: Any) -> float:
    """Return the largest difference, relative to the largest number of theirs, at least 1."""
    mine, theirs = (np.asarray(a, np.float64) for a in (mine, theirs))
    assert mine.shape == theirs.shape, f"shape {mine.shape} where theirs is {theirs.shape}"
    if not theirs.size:
        return 0.0
    gap = np.abs(mine - theirs)
    gap = np.where(mine == theirs, 0, gap)  # infinities that agree
    gap = np.where(np.isnan(gap), np.inf, gap)
    return float(gap.max() / max(1.0, np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)))


def check(case: Case) -> dict[str, tuple[float, float | None]]:
    """Require agreement (or, for a known difference, that there is one); return deviations."""
    found = deviations(case)
    far = {n: max(v, 0.0 if g is None else g) for n, (v, g) in found.items()}
    if case.differs:
        assert all(d > case.within for d in far.values()), f"they agree: {far}"
    else:
        assert all(d <= case.within for d in far.values()), f"{case.id}: {found}"
    return found


def by_numpy(preset: AbstractLibraryLoss, outputs: tuple[Any, ...], *arrays: Any) -> Any:
    """Return value and closed-form gradient; no gradient of an array of values."""
    given = outputs if preset.reads > 1 else outputs[0]
    if _is_array(preset, given, arrays):
        return preset(given, *arrays), None
    value, slopes = preset.value_and_grad(given, *arrays)
    return value, slopes if preset.reads > 1 else (slopes,)


def by_torch(preset: AbstractLibraryLoss, outputs: tuple[Any, ...], *arrays: Any) -> Any:
    """Return value and gradient by autograd."""
    import torch

    leaves = tuple(torch.from_numpy(np.array(o)).requires_grad_() for o in outputs)
    given = leaves if preset.reads > 1 else leaves[0]
    others = [None if a is None else torch.from_numpy(np.array(a)) for a in arrays]
    value = preset(given, *others)
    slopes = torch.autograd.grad(value.sum(), leaves, allow_unused=True, materialize_grads=True)
    return value.detach().numpy(), [s.numpy() for s in slopes]


def by_jax(preset: AbstractLibraryLoss, outputs: tuple[Any, ...], *arrays: Any) -> Any:
    """Return value and gradient by jax.grad, compiled once for both, with 64-bit types."""
    import jax

    with jax.enable_x64(True):
        others = [None if a is None else jax.numpy.asarray(a) for a in arrays]

        def total(leaves: Any) -> Any:
            value = preset(leaves if preset.reads > 1 else leaves[0], *others)
            return value.sum(), value

        both = jax.value_and_grad(total, has_aux=True)
        leaves = tuple(jax.numpy.asarray(o) for o in outputs)
        (_, value), slopes = jax.jit(both, compiler_options=QUICK)(leaves)
        return np.asarray(value), [np.asarray(s) for s in slopes]


RUNS: dict[str, Callable[..., Any]] = {"numpy": by_numpy, "torch": by_torch, "jax": by_jax}


def _is_array(preset: AbstractLibraryLoss, given: Any, arrays: tuple[Any, ...]) -> bool:
    recipes = preset._built(given, *(*arrays, None, None)[:3])[1]
    return any(r.unreduced for r in recipes.values())


def torch_call(f: Callable[..., Any]) -> Callable[..., tuple[Any, Sequence[Any]]]:
    """Make `theirs` of a torch function of (*outputs, targets): value, and autograd's slopes."""

    @functools.wraps(f)
    def theirs(outputs: tuple[Any, ...], targets: Any, *rest: Any) -> tuple[Any, Sequence[Any]]:
        import torch

        leaves = tuple(torch.from_numpy(np.array(o)).requires_grad_() for o in outputs)
        goal = [] if targets is None else [torch.from_numpy(np.array(targets))]
        value = f(*leaves, *goal, *(r for r in rest if r is not None))
        slopes = torch.autograd.grad(value.sum(), leaves, allow_unused=True, materialize_grads=True)
        return value.detach().numpy(), [s.numpy() for s in slopes]

    return theirs


def jax_call(
    f: Callable[..., Any], compiled: bool = True
) -> Callable[..., tuple[Any, Sequence[Any]]]:
    """Make `theirs` of a JAX function of (*outputs, targets), with 64-bit types and jax.grad.

    Compiled as a whole it takes less time than function by function.
    """

    @functools.wraps(f)
    def theirs(outputs: tuple[Any, ...], targets: Any, *rest: Any) -> tuple[Any, Sequence[Any]]:
        import jax

        with jax.enable_x64(True):
            goal = [] if targets is None else [jax.numpy.asarray(targets)]
            more = [jax.numpy.asarray(r) for r in rest if r is not None]

            def total(leaves: Any) -> Any:
                value = f(*leaves, *goal, *more)
                return value.sum(), value

            both = jax.value_and_grad(total, has_aux=True)
            leaves = tuple(jax.numpy.asarray(o) for o in outputs)
            (_, value), slopes = (jax.jit(both, compiler_options=QUICK) if compiled else both)(
                leaves
            )
            return np.asarray(value), [np.asarray(s) for s in slopes]

    return theirs


def check_loss(library: str, loss: str, cases: Iterable[Case]) -> None:
    """Check every case of a loss, and that the page's row says what was found.

    With UPDATE_DOCS set, the row is written.
    """
    tally = Tally()
    for case in cases:
        if case.loss == loss:
            _count(tally, case)
    assert tally.cases, f"no case of {loss}"
    made = _lines(loss, tally)
    text = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {library} -->", f"<!-- end of {library} -->"
    assert begin in text, f"{PAGE} has no place for {library}"
    head, rest = text.split(begin, 1)
    old, tail = rest.split(end, 1)
    shown = [line for line in old.splitlines() if f"`{loss}`" in line]
    if os.environ.get("UPDATE_DOCS"):
        others = [line for line in old.splitlines() if line and line not in (*shown, *HEAD)]
        rows = sorted({*others, *made}, key=lambda line: (line.startswith("-"), line))
        table = [r for r in rows if r.startswith("|")], [r for r in rows if r.startswith("-")]
        body = "\n".join([*HEAD, *table[0], *([""] if table[1] else []), *table[1]])
        PAGE.write_text(f"{head}{begin}\n\n{body}\n\n{end}{tail}", encoding="utf-8")
        return
    assert [_bare(x) for x in shown] == [_bare(x) for x in made], "run it with UPDATE_DOCS=1"
    # Every case has been held to its own bound; this is the order of magnitude of the rest,
    # which differs between machines.
    near = _bound(made[0]) <= 200 * _bound(shown[0])
    assert near, f"measured {made[0]}, in the docs {shown[0]}"


HEAD = (
    "| loss | cases | value agrees | gradient agrees | largest deviation, about |",
    "| :--- | ---: | ---: | ---: | ---: |",
)


def losses(cases: Iterable[Case]) -> list[str]:
    """Return the names of the losses that have cases."""
    return sorted({case.loss for case in cases})


def _count(tally: Tally, case: Case) -> None:
    tally.cases += 1
    found = check(case)
    if case.differs:
        tally.reasons.append(case.differs)
        return
    tally.values += 1
    slopes = [g for _, g in found.values() if g is not None]
    tally.gradients += bool(slopes)
    tally.largest = max(tally.largest, *(v for v, _ in found.values()), *slopes, 0.0)


def _lines(loss: str, tally: Tally) -> list[str]:
    """Return a loss's row, and a line for each reason why cases do not agree."""
    bound = 10.0 ** int(np.ceil(np.log10(max(tally.largest, 1e-16))))
    row = f"| `{loss}` | {tally.cases} | {tally.values} | {tally.gradients} | {bound:.0e} |"
    reasons = sorted(set(tally.reasons))
    counts = [tally.reasons.count(r) for r in reasons]
    why = [f"- `{loss}`, {n} case(s): {r}" for n, r in zip(counts, reasons, strict=True)]
    return [row, *why]


def _bare(line: str) -> str:
    """A row without its bound, which differs between machines."""
    return re.sub(r"\| [0-9.e+-]+ \|$", "", line)


def _bound(line: str) -> float:
    return float(line.rsplit("|", 2)[1])
