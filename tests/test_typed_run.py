# SPDX-License-Identifier: Apache-2.0
"""`make test-typed` checks signatures as the code runs; every other run does not pay for it."""

import jaxtyping
import pytest

from lossledger import _errors


def test_signatures_are_checked_when_asked(request):
    """A call against its signature is stopped before it starts, in the typed run alone."""
    if request.config.getoption("jaxtyping_packages"):
        stopped_by, message = jaxtyping.TypeCheckError, "parameter 'part'"
    else:
        stopped_by, message = AttributeError, "'int' object"
    with pytest.raises(stopped_by, match=message):
        _errors._sentence(3)
