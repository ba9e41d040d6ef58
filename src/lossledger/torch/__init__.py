# SPDX-License-Identifier: Apache-2.0
"""PyTorch beyond one process: losses and sums over the ranks of a process group.

`ll.torch` loads when it is first asked for, and PyTorch with it.
"""

from lossledger._errors import MissingExtraError

try:
    from lossledger.torch._accumulator import Accumulator
    from lossledger.torch._batches import MicroBatch
    from lossledger.torch._exchange import all_reduce
    from lossledger.torch._vocabulary import ShardedCrossEntropy
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    raise MissingExtraError(
        "`ll.torch` needs PyTorch",
        "It is not installed",
        "lossledger was installed without its `torch` extra",
        "Run: pip install 'lossledger[torch]'",
    ) from missing

__all__ = ["Accumulator", "MicroBatch", "ShardedCrossEntropy", "all_reduce"]
