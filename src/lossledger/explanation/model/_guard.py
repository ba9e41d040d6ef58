# SPDX-License-Identifier: Apache-2.0
"""Nothing changes by being explained: states that Keras' own scope does not keep."""

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

from lossledger.explanation.model._private import Private


@contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """Put back the random states of Python, NumPy and the framework, and torch buffers.

    Variables of Keras, seed generators and metrics among them, need no copy: inside
    `keras.StatelessScope` they are read and never written.
    """
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002 - the global state
        torch = sys.modules.get("torch")
        if torch is not None:
            stack.enter_context(torch.random.fork_rng(devices=_devices(torch)))
            stack.enter_context(_buffers(torch, model))
        _tensorflow(stack)
        yield


@contextmanager
def apart(model: Any, private: Private) -> Iterator[None]:
    """Let the model run as in a training step, and leave everything as it was."""
    with ExitStack() as stack:
        stack.enter_context(unchanged(model))
        stack.enter_context(private.kept_losses(model))
        stack.enter_context(private.kept_seeds())
        held = [(v, v.value) for v in model.variables]
        stack.enter_context(keras.StatelessScope(held, collect_losses=True))
        yield


def _devices(torch: Any) -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []


@contextmanager
def _buffers(torch: Any, model: Any) -> Iterator[None]:
    """Put back what torch modules inside keep beside their parameters, and their mode."""
    if not isinstance(model, torch.nn.Module):
        yield
        return
    held = [(b, b.detach().clone()) for b in model.buffers()]
    modes = [(m, m.training) for m in model.modules()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in held:
                buffer.copy_(before)
        for module, mode in modes:
            module.training = mode


def _tensorflow(stack: ExitStack) -> None:
    """Put back TensorFlow's global generator and the seeds of its operations, where there are any.

    Neither can be asked for without making it by a public name.
    """
    ops = sys.modules.get("tensorflow.python.ops.stateful_random_ops")
    generator = getattr(ops, "global_generator", None)
    if generator is not None:
        tensorflow = sys.modules["tensorflow"]
        stack.callback(generator.state.assign, tensorflow.identity(generator.state))
    eager = sys.modules.get("tensorflow.python.eager.context")
    context = getattr(eager, "_context", None)
    seeds = getattr(context, "_rng", None)
    if isinstance(seeds, random.Random):
        stack.callback(seeds.setstate, seeds.getstate())
