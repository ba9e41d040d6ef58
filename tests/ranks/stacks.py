# SPDX-License-Identifier: Apache-2.0
"""An accumulator inside Accelerate, Lightning and the Trainer, on ranks, beside one batch.

A script for torchrun, with the name of the stack: every rank prints the relative error of each
window's gradient against that of all ranks' samples in one batch.
"""

import logging
import sys
import tempfile

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, TensorDataset

import lossledger as ll
from lossledger.torch import Accumulator

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
inputs = torch.randn(40, 8, 6)
tags = torch.randint(0, 4, (40, 8))
tags[torch.arange(8) >= torch.randint(1, 9, (40,))[:, None]] = -100
data = TensorDataset(inputs, tags)
objective = ll.Objective(
    ll.Term("tag", ll.losses.CrossEntropy(ignore_index=-100), axes="batch time class")
)


def tagger():
    """Return the network, with the same weights at every call."""
    torch.manual_seed(1)
    return torch.nn.Linear(6, 4)


def compare(found, window):
    """Print how far a gradient is from that of the windows of all ranks in one batch."""
    everywhere = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, [tuple(batch) for batch in window])
    x, y = (torch.cat([b[i] for each in everywhere for b in each]) for i in (0, 1))
    model = tagger()
    torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
    right = model.weight.grad
    off = float((found - right).norm() / right.norm())
    print(f"window of {len(window)}: off by {off:.2e}", flush=True)


def accelerate():
    """Run what `prepare` returns."""
    from accelerate import Accelerator

    accelerator, model = Accelerator(cpu=True), tagger()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, batch_size=4))
    accumulator = Accumulator(objective, model, optimizer, micro_batches=4)
    for window in accumulator.windows(loader):
        accumulator.backward(window)
        compare(model.module.weight.grad, [(b.inputs, b.targets) for b in window])
        optimizer.step()
        optimizer.zero_grad()


def lightning():
    """Run in manual optimization."""
    import lightning.pytorch as pl

    class Exact(pl.LightningModule):
        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.layer, self.window = tagger(), []

        def forward(self, x):
            return self.layer(x)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def on_fit_start(self):
            self.accumulator = Accumulator(objective, self)

        def training_step(self, batch, i):
            self.window.append(batch)
            if len(self.window) < 4 and not self.trainer.is_last_batch:
                return
            self.accumulator.backward(self.window)
            compare(self.layer.weight.grad, self.window)
            self.window = []
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    parts = ("logger", "checkpointing", "progress_bar", "model_summary")
    quiet = {name if name == "logger" else f"enable_{name}": False for name in parts}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", **quiet)
    trainer.fit(Exact(), DataLoader(data, batch_size=4))


def transformers():
    """Cut the Trainer's batch into a window."""
    from transformers import Trainer, TrainingArguments

    class Exact(Trainer):
        accumulator = None

        def training_step(self, model, inputs, num_items_in_batch=None):
            if self.accumulator is None:
                self.accumulator = Accumulator(objective, model)
            inputs = self._prepare_inputs(inputs)
            window = list(zip(inputs["input"].split(4), inputs["labels"].split(4), strict=True))
            total, _ = self.accumulator.backward(window)
            compare(model.module.weight.grad, window)
            return total

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=16, num_train_epochs=1, learning_rate=0.0,
            use_cpu=True, ddp_backend="gloo", save_strategy="no", report_to=[],
            remove_unused_columns=False,
        )  # fmt: skip
        samples = [{"input": x, "labels": y} for x, y in data]
        Exact(tagger(), arguments, train_dataset=samples).train()


if __name__ == "__main__":
    torch.set_num_threads(1)
    {f.__name__: f for f in (accelerate, lightning, transformers)}[sys.argv[1]]()
    # None of the three does so, and gloo's threads may abort a process that ends before them.
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
