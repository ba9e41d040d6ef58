# SPDX-License-Identifier: Apache-2.0
"""array-api-strict behind the array protocol: proves that nothing beyond the standard is used."""

import sys
from functools import cache

import numpy as np

from lossledger._array._protocol import ArrayLibrary
from lossledger._array._standard import standard_functions


@cache
def library() -> ArrayLibrary:
    """Return the array-api-strict library; the user has imported it already."""
    xp = sys.modules["array_api_strict"]
    return ArrayLibrary(
        name="array-api",
        **standard_functions(xp) | {"to_numpy": lambda x: np.asarray(x)},
    )
