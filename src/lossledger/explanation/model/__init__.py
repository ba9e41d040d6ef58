# SPDX-License-Identifier: Apache-2.0
"""Compiled Keras models explained."""

from lossledger.explanation.model._explain import explain_model

__all__ = ["explain_model"]
