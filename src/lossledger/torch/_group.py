# SPDX-License-Identifier: Apache-2.0
"""The ranks of a process group: who one of them is, and what all of them say."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lossledger._errors import MatchError

ELSEWHERE = "in another process"
"""What stands for a group in a copy that left its process: a group cannot follow."""


def rank_of(group: Any) -> int:
    """Return this process's place in a group; None is the group of all ranks.

    Raises:
        MatchError: If there is no group, or this process is not in it.
    """
    found = "Found no process group at all"
    if dist.is_available() and dist.is_initialized():
        found = f"Found the group {group!r}"
        if not isinstance(group, str):
            rank: int = dist.get_rank(group)
            if rank >= 0:
                return rank
            found = f"Found rank {dist.get_rank()}, which is not in the group"
    raise MatchError(
        "`group` must be a process group of torch.distributed that this process is in",
        found,
        "The process group was not set up yet, the loss came from another process, or it was "
        "built on every rank with one rank's group",
        "Call torch.distributed.init_process_group first, and pass the group of this rank, e.g. "
        "mesh['tp'].get_group()",
    )


def gather(told: Tensor, group: Any) -> Tensor:
    """Return (ranks, …): what every rank of a group tells, in the order of the ranks.

    Tensors must have one shape and dtype on all ranks.
    """
    found = [torch.empty_like(told) for _ in range(dist.get_world_size(group))]
    dist.all_gather(found, told.contiguous(), group=group)
    return torch.stack(found)
