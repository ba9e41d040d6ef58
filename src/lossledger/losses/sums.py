# SPDX-License-Identifier: Apache-2.0
"""Users' own losses of sums: RMSE, F1, correlation, a normalizer that depends on the outputs."""

from dataclasses import dataclass, field

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError, ReductionError, ShapeError
from lossledger._typing import Array, Axes, Callable, Mapping, Names
from lossledger.frames import parse_axes
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._checks import check_choice
from lossledger.losses._ratio import Empty


@dataclass(frozen=True)
class FromSums(AbstractOverlapLoss):
    """value(Σw·channel₁, Σw·channel₂, …): any loss that is a function of sums.

    Elements contribute to first order, Σ ∂value/∂sum · w·channel; what the value has beyond
    that (all of it, for a ratio of two sums) stands in the ledger as curvature. `factors`
    attributes it otherwise: a loss is not told by its value what its elements are worth.

    Args:
        sums: `(outputs, targets) -> dict` of what is summed, one number per element and name.
            It gets the tuple of outputs if the term reads several. The policies of `empty`
            read the sums named "targets" and (for "agree") "outputs".
        value: `(sums) -> values`, a dict of sums to one value a cell; each cell's from its
            own sums. Sums are 1 in cells without weight, whose value is not used.
        over: Axes summed over.
        value_derivative: `(sums) -> dict` of ∂value/∂sum, shaped like the sums; sums left out
            have derivative 0. Default: by autodiff (which `torch.compile` cannot trace in
            one graph), or by central differences on NumPy, which step across a sum of 0.
        sums_derivative: `(outputs, targets) -> dict` of ∂channel/∂output, shaped like the
            outputs, by name of the channel: a tuple of them if the term reads several.
            Only needed for `value_and_grad`.
        factors: `(sums) -> dict` of what each unit of a channel contributes to the ledger,
            for instance {"errors": 1 / sums["elements"]}.
        own_mean: Names of the sums whose ratio is a row's own mean, as ("errors", "elements").
        reads: Number of outputs.
        removes: Axes of the outputs that the channels no longer have, such as "class".
        empty: As for `Dice`: what a cell does whose sum "targets" is 0.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> rmse = ll.losses.FromSums(
        ...     lambda y, t: {"squares": (y - t) ** 2, "elements": 0 * y + 1},
        ...     lambda s: (s["squares"] / s["elements"]) ** 0.5,
        ...     over="batch",
        ... )
        >>> objective = ll.Objective(ll.Term("y", rmse, axes="batch"))
        >>> float(objective.loss(np.array([3.0, 4.0, 0.0, 0.0]), np.zeros(4)))
        2.5
    """

    sums: Callable[..., Mapping[str, Array]]
    value: Callable[[dict[str, Array]], Array]
    over: Names
    value_derivative: Callable[[dict[str, Array]], Mapping[str, Array]] | None = None
    sums_derivative: Callable[..., Mapping[str, Array | tuple[Array, ...]]] | None = None
    factors: Callable[[dict[str, Array]], Mapping[str, Array]] | None = None
    own_mean: tuple[str, str] | None = None
    reads: int = 1
    removes: Names = ()
    empty: Empty = "keep"
    include_background: bool = field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the policy's name."""
        check_choice("empty", self.empty, ("keep", "zero", "skip", "raise", "agree"))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        removed = parse_axes(self.removes, "removes")
        return Facts(accepts="free", removes=removed, reads=self.reads, source="the user")

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return what the user's function gives, in the dtype of the outputs."""
        given = self.sums(self._given(outputs), targets)
        needed = {"keep": (), "agree": ("targets", "outputs")}.get(self.empty, ("targets",))
        needed += self.own_mean or ()
        if not given or any(name not in given for name in needed):
            raise MatchError(
                "`sums` must name what is summed, and what `empty` and `own_mean` ask for",
                f"Found {', '.join(given) or 'nothing'} where {', '.join(needed)} are asked for",
                f"empty={self.empty!r} reads 'targets' (and 'outputs', for 'agree')",
                "Return a dict of arrays with these names, or choose empty='keep'",
            )
        dtype = xp.dtype(outputs[0])
        return {name: xp.astype(channel, dtype) for name, channel in given.items()}

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return what the user's derivative gives, for each output."""
        if self.sums_derivative is None:
            raise ReductionError(
                "`value_and_grad` needs the closed-form derivative of every channel",
                f"Found the function {_name(self.sums)!r} without one",
                "NumPy cannot differentiate, and the function was given alone",
                "Pass ll.losses.FromSums(..., sums_derivative=...), or use torch or JAX arrays",
            )
        given = self.sums_derivative(self._given(outputs), targets)
        if self.reads == 1:
            return (dict(given),)
        return tuple(
            {name: slopes[place] for name, slopes in given.items()} for place in range(self.reads)
        )

    def pools(self) -> Axes:
        """Nothing is pooled: one value a cell."""
        return ()

    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return what the user's function makes of the sums."""
        return self.value(dict(sums))

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return the user's derivative, or the library's."""
        if self.value_derivative is not None:
            return _like_sums("value_derivative", self.value_derivative(dict(sums)), sums)
        names = tuple(sums)
        wide = [xp.astype(s, xp.wide(s)) for s in sums.values()]
        found = xp.slopes(lambda *s: self.value(dict(zip(names, s, strict=True))), wide)
        return {n: xp.astype(s, xp.dtype(sums[n])) for n, s in zip(names, found, strict=True)}

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return the factors (the slopes, where they are finite) and what they leave."""
        if self.factors is None:
            given = self.slopes(xp, sums, axis)
        else:
            given = _like_sums("factors", self.factors(dict(sums)), sums)
        found = {n: xp.where(xp.isfinite(f), f, xp.full_like(f, 0.0)) for n, f in given.items()}
        rest = xp.detach(self.value(dict(sums)))
        for name, factor in found.items():
            rest = rest - factor * sums[name]
        return found, rest

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the two sums named in `own_mean`; rows have none without it."""
        if self.own_mean is None:
            return {}, {}
        top, bottom = self.own_mean
        return {top: 1.0}, {bottom: 1.0}

    def _given(self, outputs: tuple[Array, ...]) -> Array | tuple[Array, ...]:
        return outputs[0] if self.reads == 1 else outputs


def _like_sums(
    what: str, given: Mapping[str, Array], sums: Mapping[str, Array]
) -> dict[str, Array]:
    """Return a dict that has names and shapes of the sums, or raise."""
    for name, array in given.items():
        expected = tuple(sums[name].shape) if name in sums else None
        found = tuple(getattr(array, "shape", ()))
        if expected != found:
            raise ShapeError(
                f"`{what}` must give arrays by the names of the sums, shaped like them",
                f"Found {name!r} of shape {found} beside the sums {', '.join(sums)} of shape "
                f"{tuple(next(iter(sums.values())).shape)}",
                "The name is misspelled, or a number was returned where a cell has one each",
                "Multiply a constant by the sum's own shape, e.g. 0 * sums['a'] + 2",
            )
    return dict(given)


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__name__", function))
