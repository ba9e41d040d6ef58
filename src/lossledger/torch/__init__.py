# SPDX-License-Identifier: Apache-2.0
"""PyTorch beyond one process: losses and sums over the ranks of a process group.

`ll.torch` loads when it is first asked for, and PyTorch with it.
"""

from lossledger.torch._vocabulary import ShardedCrossEntropy

__all__ = ["ShardedCrossEntropy"]
