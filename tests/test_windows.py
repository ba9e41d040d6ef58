# SPDX-License-Identifier: Apache-2.0
"""A data loader's batches are read once, whoever asks for windows."""

import torch

import lossledger as ll
from lossledger.torch import Accumulator, MicroBatch


def read(batch):
    """Read a dict, and nothing else."""
    return MicroBatch(batch["x"], batch["y"])


def test_windows_of_read_batches_run():
    """With `read=`, a window from `windows` runs as one of raw batches does."""
    x, y = torch.ones(4, 2), torch.tensor([0, 1, 0, 0])
    raw = [{"x": a, "y": b} for a, b in zip(x.split(1), y.split(1), strict=True)]
    found = []
    for ask in (lambda a: list(a.windows(raw)), lambda a: [raw[:3], raw[3:]]):
        model = torch.nn.Linear(2, 2)
        torch.nn.init.ones_(model.weight)
        torch.nn.init.zeros_(model.bias)
        objective = ll.Objective(ll.Term("z", ll.losses.CrossEntropy(), axes="batch class"))
        accumulator = Accumulator(objective, model, micro_batches=3, read=read)
        for window in ask(accumulator):
            accumulator.backward(window)
        found.append(model.weight.grad)
    assert torch.equal(*found)
    assert found[0].abs().sum() > 0
