# SPDX-License-Identifier: Apache-2.0
"""W3: cross entropy of tokens over a vocabulary, 30 % of them ignored."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's manual calls it
from floor import FLOAT, bandwidth, products
from steps import compiled_step, jax_step, ledger_step, load, read_rows, torch_step
from torch import Tensor
from workload import OURS, REFERENCE, Competitor, Step, Workload

import lossledger as ll

IGNORED = -100
SHARE_IGNORED = 0.3
TOKENS = 4096
HIDDEN = 1024


def workload(name: str, quick: bool) -> Workload:
    """Return cross entropy of logits (W3a), or of a linear layer and its logits (W3b)."""
    tokens, hidden = (64, 32) if quick else (TOKENS, HIDDEN)
    size = 128_000 if name.endswith("128k") else 32_000
    vocabulary = size // 100 if quick else size
    torch.manual_seed(0)
    labels = torch.randint(vocabulary, (tokens,))
    labels[torch.rand(tokens) < SHARE_IGNORED] = IGNORED
    if name == "W3b":
        return linear(tokens, hidden, vocabulary, labels)
    logits = (3 * torch.randn(tokens, vocabulary)).requires_grad_()
    array = FLOAT * tokens * vocabulary
    valid = int((labels != IGNORED).sum())
    return Workload(
        f"cross entropy of logits ({tokens}, {vocabulary}), 30 % ignored",
        of_logits(logits, labels),
        # Rows that count are read once (each stays in the cache); every row is written.
        bandwidth(moved=array * valid // tokens + array, working_set=2 * array),
        rounds=7,
    )


def objective() -> ll.Objective:
    """Return the loss as an objective."""
    loss = ll.losses.CrossEntropy(ignore_index=IGNORED)
    return ll.Objective(ll.Term("token", loss, axes="batch class"))


def of_logits(logits: Tensor, labels: Tensor) -> tuple[Competitor, ...]:
    """Return everyone who starts from logits."""
    leaves, data = (logits,), (labels,)

    def ledger(read: Any = None) -> Step:
        return ledger_step(objective(), leaves, lambda: logits, labels, read)

    return (
        Competitor(OURS, ledger),
        Competitor(f"{OURS}, rows read", lambda: ledger(read_rows)),
        Competitor(REFERENCE, lambda: torch_step(by_torch, leaves, *data)),
        Competitor("torch.compile", lambda: compiled_step(by_torch, leaves, *data), compiles=True),
        Competitor("JAX jit, optax", lambda: jax_step(by_optax, leaves, *data), ("jax", "optax")),
    )


def linear(tokens: int, hidden: int, vocabulary: int, labels: Tensor) -> Workload:
    """Return the workload of a last layer and its loss."""
    states = torch.randn(tokens, hidden, requires_grad=True)
    weight = (torch.randn(vocabulary, hidden) / hidden**0.5).requires_grad_()
    leaves = (states, weight)

    def ours() -> Step:
        return ledger_step(objective(), leaves, lambda: F.linear(states, weight), labels)

    def two_calls(h: Tensor, w: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(h, w), labels)

    def one_call(h: Tensor, w: Tensor) -> Tensor:
        options = torch.nn.LinearCrossEntropyOptions()
        return F.linear_cross_entropy(h, w, labels, options=options)

    def by_jax(h: Any, w: Any, targets: Any) -> Any:
        return by_optax(h @ w.T, targets)

    peers = (
        Competitor(OURS, ours),
        Competitor(REFERENCE, lambda: torch_step(two_calls, leaves)),
        Competitor("torch linear_cross_entropy", lambda: torch_step(one_call, leaves)),
        Competitor("torch.compile", lambda: compiled_step(two_calls, leaves), compiles=True),
        Competitor("JAX jit, optax", lambda: jax_step(by_jax, leaves, labels), ("jax", "optax")),
    )
    valid = int((labels != IGNORED).sum())
    title = f"linear layer ({tokens}, {hidden}) to {vocabulary} + cross entropy, 30 % ignored"
    return Workload(title, peers, products(valid, hidden, vocabulary), rounds=3)


def by_torch(z: Tensor, labels: Tensor) -> Tensor:
    """Return PyTorch's own; −100 is what it ignores by default."""
    return F.cross_entropy(z, labels)


def by_optax(z: Any, labels: Any) -> Any:
    """Return the mean over the tokens that count, in JAX."""
    jnp, optax = load("jax.numpy"), load("optax")
    counts = labels != IGNORED
    values = optax.softmax_cross_entropy_with_integer_labels(z, jnp.where(counts, labels, 0))
    return jnp.where(counts, values, 0).sum() / counts.sum()
