# SPDX-License-Identifier: Apache-2.0
"""The parts of an explanation: pieces and extras that add up, and what there is to know."""

from dataclasses import dataclass, field
from typing import Any

from lossledger._typing import Mapping

STAGES = ("smoothing", "values", "weights", "inner", "numerator", "denominator", "loss_weight")
"""The flow from outputs and targets to a number, in the order in which its stages mostly act."""


@dataclass(frozen=True)
class Step:
    """One step on the way from outputs to a number.

    Attributes:
        stage: One of `STAGES`.
        text: What happens, in words.
        shape: Of what is left after it; None if it says nothing of shapes.
        amount: A number on this data: a sum, a denominator, a weight.
        settings: What the step depends on, by name, to compare it with another's.
    """

    stage: str
    text: str
    shape: tuple[int, ...] | None = None
    amount: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings."""
        shape = None if self.shape is None else list(self.shape)
        return vars(self) | {"shape": shape, "settings": dict(self.settings)}


@dataclass(frozen=True)
class Piece:
    """One loss on one output: what it computes, and what it adds to the total.

    Attributes:
        output: Name of the output.
        name: Name of the piece.
        loss: The loss as its users write it.
        steps: How its number is made, in order.
        formula: The same in symbols.
        value: The loss's own number, before its weight.
        loss_weight: Its factor in the total.
        numerator: Σ w·l on this data; None if it is not a fraction of sums.
        denominator: By what the numerator is divided, on this data.
        measured: Whether the steps were found by trying: the loss is not one that is known.
    """

    output: str
    name: str
    loss: str
    steps: tuple[Step, ...]
    formula: str
    value: float
    loss_weight: float = 1.0
    numerator: float | None = None
    denominator: float | None = None
    measured: bool = False

    @property
    def contribution(self) -> float:
        """What it adds to the total."""
        return self.value * self.loss_weight

    @property
    def symbols(self) -> str:
        """The formula with the loss's weight."""
        return self.formula if self.loss_weight == 1 else f"{self.loss_weight:g} · {self.formula}"

    def step(self, stage: str) -> Step | None:
        """Return the first step of a stage; None if there is none."""
        return next((s for s in self.steps if s.stage == stage), None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings."""
        steps = [step.to_dict() for step in self.steps]
        return vars(self) | {"steps": steps, "contribution": self.contribution}


@dataclass(frozen=True)
class Extra:
    """What a total holds beside losses.

    Attributes:
        kind: "regularizer", "activity regularizer" or "add_loss".
        name: Of the variable, or of the layer.
        formula: In symbols, with its factor.
        amount: What it adds to the total.
    """

    kind: str
    name: str
    formula: str
    amount: float


@dataclass(frozen=True)
class Reported:
    """A number that the framework shows under a name, and how it comes about.

    Attributes:
        name: As in the log.
        rule: How the framework makes it.
        differs: Why it is not the number minimized; "" if it is.
        number: On this data; None if it depends on more than one batch.
    """

    name: str
    rule: str
    differs: str = ""
    number: float | None = None


@dataclass(frozen=True)
class Elsewhere:
    """The same data under another convention.

    Attributes:
        convention: Its name here, "keras2.11".
        versions: Which versions it stands for.
        number: The total; None if that version does not have the loss, or raises.
        why: What is done otherwise; "" if nothing.
    """

    convention: str
    versions: str
    number: float | None
    why: str


@dataclass(frozen=True)
class Note:
    """Something to know about a loss: what was found, and what to do.

    Attributes:
        rule: A short name that stays.
        found: What was found here, with its numbers.
        remedy: What to change; "" if there is nothing to change.
    """

    rule: str
    found: str
    remedy: str = ""
