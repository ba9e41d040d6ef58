# SPDX-License-Identifier: Apache-2.0
"""Errors in four parts: the rule, what was found, the likely cause, the remedy."""


class LossLedgerError(Exception):
    """The base of every error that lossledger raises about what it was given.

    Args:
        rule: What must hold, naming the argument, axis or key.
        found: What was found instead, with its numbers.
        cause: The likely cause.
        remedy: What to change.
    """

    def __init__(self, rule: str, found: str, cause: str, remedy: str) -> None:
        """Join the four parts into one message."""
        self.rule, self.found, self.cause, self.remedy = rule, found, cause, remedy
        super().__init__(" ".join(_sentence(part) for part in (rule, found, cause, remedy)))

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        """Rebuild from the four parts, so that the error crosses process borders."""
        return type(self), (self.rule, self.found, self.cause, self.remedy)


class ShapeError(LossLedgerError, ValueError):
    """Shapes or axes do not fit; nothing is broadcast."""


class DomainError(LossLedgerError, ValueError):
    """A number lies outside the domain of its argument: a label, a weight, a dtype."""


class MatchError(LossLedgerError, ValueError):
    """Names do not match one to one: outputs, targets, classes, weights, axes."""


class ReductionError(LossLedgerError, ValueError):
    """A reduction has nothing to work on, or does not fit the axes that are there."""


class RankError(LossLedgerError, RuntimeError):
    """Ranks of a process group disagree, or one of them does not answer."""


class MissingExtraError(LossLedgerError, ImportError):
    """An optional library is needed; the remedy is its pip command."""


def _sentence(part: str) -> str:
    text = part.strip()
    return text if text.endswith((".", "!", "?")) else text + "."
