# SPDX-License-Identifier: Apache-2.0
"""Compiled Keras models explained."""
