# SPDX-License-Identifier: Apache-2.0
"""The one place that knows array libraries: a typed protocol and who implements it."""

from lossledger._array._protocol import ArrayLibrary
from lossledger._array._resolve import is_array, library_of, resolve_imported

__all__ = ["ArrayLibrary", "is_array", "library_of", "resolve_imported"]
