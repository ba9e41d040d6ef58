# SPDX-License-Identifier: Apache-2.0
"""An optax optimizer that steps once for each whole, on the sum of its parts' gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lossledger._errors import MatchError
from lossledger._typing import Array
from lossledger.engines import Limbs

# Shares are rounded to 2⁻²⁴ of themselves, so those of a whole add up to 1 within 2⁻²³.
_ROUNDING = 1e-6


class SumPartsState(NamedTuple):
    """What is kept between the parts of a whole.

    Attributes:
        inner: State of the optimizer.
        sums: Sum of the gradients of the parts so far, in at least 32 bits.
        share: Share of the whole that was seen, as a pair (sum, what rounding took from it);
            (0, 0) right after a step.
    """

    inner: Any
    sums: Any
    share: tuple[Array, Array]


def sum_parts(
    optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Let an optimizer step once for each whole, on the sum of its parts' gradients.

    `optax.MultiSteps` averages gradients of means, which is the mean of the whole only if all
    parts weigh the same. Here each part's gradient is its share already (`whole=` was passed),
    gradients add, and `share` says when the whole is there: also where the last window is
    short. Until then updates are 0.

        updates, state = optimizer.update(grads, state, params, share=ledger.wholes)

    Args:
        optimizer: Any optax transformation.

    Returns:
        A transformation whose `update` takes `share`, the part's share of its whole. If shares
        go beyond 1 (parts of two wholes were mixed) updates are NaN under jit.

    Raises:
        MatchError: From `update`, if `share` is missing, or shares that can be read go beyond 1.
    """
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> SumPartsState:
        zero = jnp.zeros((), jnp.float32)
        return SumPartsState(inner.init(params), _sums_like(params), (zero, zero))

    def update(
        updates: Any, state: SumPartsState, params: Any = None, *, share: Any = None, **extra: Any
    ) -> tuple[Any, SumPartsState]:
        sums = jax.tree.map(lambda s, g: s + g.astype(s.dtype), state.sums, updates)
        seen = _add(state.share, share)
        full = seen[0] + seen[1]
        mixed = full > 1 + _ROUNDING
        _refuse(mixed, full)

        def step(_: Any) -> tuple[Any, SumPartsState]:
            whole = jax.tree.map(lambda s, g: s.astype(g.dtype), sums, updates)
            found, after = inner.update(whole, state.inner, params, **extra)
            found = jax.tree.map(lambda u: jnp.where(mixed, jnp.full_like(u, jnp.nan), u), found)
            nothing = jax.tree.map(jnp.zeros_like, (sums, seen))
            return found, SumPartsState(after, *nothing)

        def wait(_: Any) -> tuple[Any, SumPartsState]:
            shapes = jax.eval_shape(step, None)[0]
            nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
            return nothing, SumPartsState(state.inner, sums, seen)

        found: tuple[Any, SumPartsState] = jax.lax.cond(full >= 1 - _ROUNDING, step, wait, None)
        return found

    return optax.GradientTransformationExtraArgs(init, update)


def _sums_like(params: Any) -> Any:
    def zeros(p: Any) -> Array:
        return jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32))

    return jax.tree.map(zeros, params)


def _add(seen: tuple[Array, Array], share: Any) -> tuple[Array, Array]:
    """Add a share to those seen, and keep what rounding takes: parts may be thousands."""
    if share is None:
        raise MatchError(
            "`update` needs the part's share of its whole",
            "Found no share=",
            "The optimizer was called as if every call were a whole step",
            "Pass share=ledger.wholes, of objective(..., whole=whole, part=i)",
        )
    one = jnp.asarray(share, jnp.float32)
    both = Limbs(*seen) + Limbs(one, jnp.zeros_like(one))
    return both.high, both.low


def _refuse(mixed: Array, full: Array) -> None:
    """Raise where shares can be read; under a trace the updates become NaN."""
    if not isinstance(mixed, jax.core.Tracer) and bool(mixed):
        raise MatchError(
            "Shares of the parts of one whole must add up to 1",
            f"Found {float(full):g}",
            "Parts of two wholes were mixed, or a whole was left unfinished",
            "Run all parts of a whole before the next one; to drop a window, call init again",
        )
