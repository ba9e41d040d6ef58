# SPDX-License-Identifier: Apache-2.0
"""Negative log-likelihoods of counts and residuals, and the KL of a Gaussian code.

Constants that no output can change are left out unless `full=True`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Domain, Facts, Inputs
from lossledger.losses._checks import check_choice, check_nonnegative, check_positive

Variance = Literal["variance", "deviation", "log"]
Scale = Literal["scale", "log"]
# exp(80) still is a float32.
_TINY = -80.0


@dataclass(frozen=True)
class PoissonNLL(AbstractLoss):
    """exp(z) − y·z of a log-rate z, or r − y·log(r + ε) of a rate r.

    ∂/∂z = exp(z) − y;  ∂/∂r = 1 − y/(r + ε). Counts y are at least 0, rates above 0 (at
    least 0 with an ε).

    Args:
        log_input: Outputs are log-rates; False takes rates.
        full: Add log Γ(y + 1), which completes the likelihood; "stirling" adds torch's
            approximation y·log y − y + ½·log(2πy), and only where y > 1.
        epsilon: ε, added to rates inside the log (torch's functional has 1e-8, Keras 1e-7).

    Source: torch.nn.functional.poisson_nll_loss; keras.losses.Poisson (rates).
    """

    log_input: bool = True
    full: bool | Literal["stirling"] = False
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("epsilon", self.epsilon)
        if not isinstance(self.full, bool):
            check_choice("full", self.full, ("stirling",))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        rates: Domain = "nonnegative" if self.epsilon else "positive"
        return Facts(
            accepts="same",
            outputs="any" if self.log_input else rates,
            targets="nonnegative",
            source="torch.nn.functional.poisson_nll_loss",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        z = outputs[0]
        if self.log_input:
            value = xp.exp(z) - targets * z
        else:
            value = z - targets * xp.log(z + self.epsilon)
        return value + self._constant(xp, targets) if self.full else value

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(exp(z) − y), or c·(1 − y/(r + ε))."""
        z = outputs[0]
        if self.log_input:
            return (coefficients * (xp.exp(z) - targets),)
        return (coefficients * (1 - targets / (z + self.epsilon)),)

    def _constant(self, xp: ArrayLibrary, y: Array) -> Array:
        if self.full is True:
            return xp.log_gamma(y + 1)
        above = xp.where(y > 1, y, xp.full_like(y, 1))
        approximate = above * xp.log(above) - above + 0.5 * xp.log(2 * math.pi * above)
        return xp.where(y > 1, approximate, xp.full_like(y, 0))


@dataclass(frozen=True)
class GaussianNLL(AbstractLoss):
    """log σ + e²/(2σ²), with e = mean − target; reads (mean, spread).

    ∂/∂mean = e/σ², and with r = e/σ: ∂/∂σ² = (1 − r²)/(2σ²), ∂/∂σ = (1 − r²)/σ,
    ∂/∂log σ² = (1 − r²)/2.

    Args:
        variance: What the second output is: the "variance" σ², the standard "deviation" σ,
            or the "log" of the variance. σ² and σ must be above 0.
        full: Add ½·log 2π.
        floor: Least spread: one that is less counts as it, and gets the slope that it has
            there (torch's eps). With a floor, σ² and σ may be 0.

    Source: torch.nn.functional.gaussian_nll_loss, whose floor is 1e-6.
    """

    variance: Variance = "variance"
    full: bool = False
    floor: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice("variance", self.variance, ("variance", "deviation", "log"))
        if self.floor is not None and self.variance != "log":
            check_positive("floor", self.floor)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        facts = _of_two(self.variance, "torch.nn.functional.gaussian_nll_loss")
        if self.floor is None or self.variance == "log":
            return facts
        return replace(facts, outputs=("any", "nonnegative"))

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        r, _, log_sigma, _ = self._standardize(xp, outputs, targets)
        value = log_sigma + 0.5 * r * r
        return value + 0.5 * math.log(2 * math.pi) if self.full else value

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·e/σ² and c·(1 − r²)·∂log σ/∂spread."""
        r, inverse, _, spread = self._standardize(xp, outputs, targets)
        per_spread = {
            "variance": lambda s: 0.5 / s,
            "deviation": lambda s: 1 / s,
            "log": lambda s: xp.full_like(s, 0.5),
        }[self.variance](spread)
        return coefficients * r * inverse, coefficients * (1 - r * r) * per_spread

    def _standardize(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Return r = e/σ, 1/σ, log σ and the spread, held at its floor."""
        e, spread = outputs[0] - targets, self._held(xp, outputs[1])
        if self.variance == "log":
            inverse = _inverse(xp, e, 0.5 * spread)
            return e * inverse, inverse, 0.5 * spread, spread
        deviation = xp.sqrt(spread) if self.variance == "variance" else spread
        return e / deviation, 1 / deviation, xp.log(deviation), spread

    def _held(self, xp: ArrayLibrary, spread: Array) -> Array:
        """Return max(spread, floor) with the derivative 1 everywhere."""
        if self.floor is None:
            return spread
        least = xp.full_like(spread, self.floor) + (spread - xp.detach(spread))
        return xp.where(spread < self.floor, least, spread)


@dataclass(frozen=True)
class LaplaceNLL(AbstractLoss):
    """log b + |e|/b, with e = location − target; reads (location, scale).

    ∂/∂location = sign(e)/b, 0 at e = 0;  ∂/∂b = (1 − |e|/b)/b, ∂/∂log b = 1 − |e|/b.

    Args:
        scale: What the second output is: the "scale" b, above 0, or its "log".
        full: Add log 2.

    Source: torch.distributions.Laplace.
    """

    scale: Scale = "scale"
    full: bool = False

    def __post_init__(self) -> None:
        """Check the name of the second output."""
        check_choice("scale", self.scale, ("scale", "log"))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _of_two(self.scale, "torch.distributions.Laplace")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        e = outputs[0] - targets
        log_b = outputs[1] if self.scale == "log" else xp.log(outputs[1])
        value = log_b + xp.abs(e) * self._inverse(xp, e, outputs[1])
        return value + math.log(2) if self.full else value

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·sign(e)/b and c·(1 − |e|/b), over b unless its log is read."""
        e = outputs[0] - targets
        inverse = self._inverse(xp, e, outputs[1])
        rest = coefficients * (1 - xp.abs(e) * inverse)
        spread = rest if self.scale == "log" else rest * inverse
        return coefficients * xp.sign(e) * inverse, spread

    def _inverse(self, xp: ArrayLibrary, e: Array, scale: Array) -> Array:
        return _inverse(xp, e, scale) if self.scale == "log" else 1 / scale


@dataclass(frozen=True)
class GaussianKL(AbstractLoss):
    """½·(μ² + exp(s) − 1 − s): KL of N(μ, exp(s)) from N(0, 1); reads (μ, s = log σ²).

    ∂/∂μ = μ, ∂/∂s = ½·(exp(s) − 1). It takes no targets. A variational autoencoder sums it
    over the axes of its code: `reduction=ll.Sum("latent").then(ll.Mean())`.

    Source: Kingma and Welling 2014, appendix B.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(accepts="none", reads=2, source="Kingma and Welling 2014")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        mean, log_variance = outputs
        return 0.5 * (mean * mean + xp.exp(log_variance) - 1 - log_variance)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·μ and c·½·(exp(s) − 1)."""
        mean, log_variance = outputs
        return coefficients * mean, coefficients * 0.5 * (xp.exp(log_variance) - 1)


def _of_two(spread: str, source: str) -> Facts:
    """Return the facts of a loss that reads a location and a spread."""
    domain: Domain = "any" if spread == "log" else "positive"
    return Facts(accepts="same", outputs=("any", domain), reads=2, source=source)


def _inverse(xp: ArrayLibrary, e: Array, log_scale: Array) -> Array:
    """Return exp(−log_scale), except 1 where it is huge under a residual of 0: 0·∞ is 0."""
    lost = (e == 0) & (log_scale < _TINY)
    return xp.exp(-xp.where(lost, xp.full_like(log_scale, 0), log_scale))
