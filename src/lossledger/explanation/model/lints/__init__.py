# SPDX-License-Identifier: Apache-2.0
"""Traps of Keras: one function each, which finds it in what was read of a model and a batch."""

from lossledger.explanation.model.lints._all import lints

__all__ = ["lints"]
