# SPDX-License-Identifier: Apache-2.0
"""Ledgers and statistics are saved, loaded and merged; a data set has one number."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import lossledger as ll
from properties import close, rows_close

CLASSES = ["cat", "dog", "fox"]
SIZES = (1, 7, 32, 100)
SITES = {"site": ["north", "south"]}


def classes(reduction="mean", **settings):
    """Return a cross entropy of three classes."""
    settings = {"classes": CLASSES, "keys": SITES} | settings
    return ll.Term(
        "y", ll.losses.CrossEntropy(), axes="batch class", target="t", reduction=reduction,
        **settings,
    )  # fmt: skip


def overlap(over="batch", **settings):
    """Return a Dice of three classes, by default of the whole batch."""
    loss = ll.losses.Dice(over=over, kind="softmax")
    return ll.Term("y", loss, axes="batch class", target="t", classes=CLASSES, **settings)


TERMS = {
    "mean": classes(),
    "weights": classes(ll.Mean(denominator="elements"), class_weight=[1.0, 2.0, 0.5]),
    "sum": classes("sum"),
    "macro": classes(ll.Macro()),
    "worst site": classes(ll.Mean(by="site").then(ll.Max()), rows="class site"),
    "root": classes(ll.RootMean()),
    "dice": overlap(),
    "tilted": classes(ll.LogMeanExp(2.0)),
    "max": classes(ll.Max()),
    "top": classes(ll.TopMean(count=5)),
    "top share": classes(ll.TopMean(0.3)),
    "sites": classes(rows="site"),
}
by_term = pytest.mark.parametrize("name", TERMS)


def objective_of(name):
    """Return the objective of one term, with a regularizer."""
    return ll.Objective(TERMS[name], ll.L2(0.1, half=False))


def data(length=100, seed=0):
    """Return (outputs, targets, options) as NumPy arrays; the classes are not equally frequent."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, length, p=(0.7, 0.25, 0.05))
    logits = rng.normal(size=(length, 3)) + np.eye(3)[labels]
    weight, site = rng.uniform(0.5, 2.0, length), rng.choice(2, length)
    return logits, labels, {"sample_weight": weight, "keys": {"site": site}}


def cut(batch, size):
    """Yield consecutive batches; the last may be short."""
    logits, labels, options = batch
    for start in range(0, len(labels), size):
        here = slice(start, start + size)
        keys = {name: key[here] for name, key in options["keys"].items()}
        yield (
            logits[here],
            labels[here],
            {"sample_weight": options["sample_weight"][here], "keys": keys},
        )


def moved(batch, to):
    """Return a batch in another library."""
    logits, labels, options = batch
    keys = {name: to(key) for name, key in options["keys"].items()}
    return (
        to(logits),
        to(labels),
        {"sample_weight": to(options["sample_weight"]), "keys": keys},
    )


def whole_of(objective, batch):
    """Return a batch's statistics; a term without keys is not given any."""
    logits, labels, options = batch
    return objective.statistics(logits, labels, **asked(objective, options))


def ledger_of(objective, batch):
    """Return a batch's ledger."""
    logits, labels, options = batch
    ones = [logits[0] * 0 + 1] if objective.regularizers else None
    return objective(logits, labels, **asked(objective, options), parameters=ones)[1]


def asked(objective, options):
    """Leave out keys that no term declares, and weights where a number of elements is chosen."""
    term = objective.terms[0]
    counting = "count=" in str(term.reduction)  # with weights, nobody knows how many that takes
    left = {} if counting else {"sample_weight": options["sample_weight"]}
    return left | ({"keys": options["keys"]} if term.keys else {})


def saved(thing):
    """Return a state as it comes back from a file: plain JSON, without NaN."""
    return json.loads(json.dumps(thing.state_dict(), allow_nan=False))


@by_term
def test_one_number_at_any_batch_size(name, capsys):
    """Merged statistics of a data set are those of one batch; means of means are not."""
    objective, batch = objective_of(name), data()
    expected = whole_of(objective, batch).total()
    twins = []
    for size in SIZES:
        parts = list(cut(batch, size))
        close(sum(whole_of(objective, p) for p in parts).total(), expected, what=f"size {size}")
        twins.append(np.mean([float(whole_of(objective, p).total()) for p in parts]))
    with capsys.disabled():
        shown = ", ".join(f"{size}: {twin:.4f}" for size, twin in zip(SIZES, twins, strict=True))
        print(f"\n{name}: {float(expected):.4f} at every size; mean of batch means {shown}")
    if name not in ("root", "mean"):
        assert max(abs(t - float(expected)) for t in twins) > 1e-3, "the twin agrees too"


@by_term
def test_pooled_at_any_batch_size(name):
    """The pooled value of an epoch's ledger is that number too, where it can be kept."""
    objective, batch = objective_of(name), data()
    expected = float(whole_of(objective, batch).total()) + 0.3
    for size in SIZES:
        epoch = sum(ledger_of(objective, part) for part in cut(batch, size))
        if name == "top share":
            with pytest.raises(ll.ReductionError, match="statistics of bounded size"):
                _ = epoch.pooled
        else:
            close(epoch.pooled, expected, what=f"size {size}")


@by_term
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_round_trip(name, library):
    """What is loaded has the same rows and values, and merges to the same, in any library."""
    to = {"numpy": np.asarray, "torch": torch.as_tensor, "jax": jnp.asarray}[library]
    objective = objective_of(name)
    with jax.enable_x64(True):
        first, second = (moved(data(20, seed), to) for seed in (1, 2))
        ledgers = [ledger_of(objective, batch) for batch in (first, second)]
        wholes = [whole_of(objective, batch) for batch in (first, second)]
        loaded = objective.load_ledger(saved(ledgers[0]))
        assert loaded.rows == ledgers[0].rows
        assert loaded.total == ledgers[0].total
        assert saved(loaded) == saved(ledgers[0])
        rows_close(loaded + ledgers[1], ledgers[0] + ledgers[1], what="merged rows")
        rows_close(ledgers[1] + loaded, ledgers[1] + ledgers[0], what="merged rows")
        if name != "top share":
            close((loaded + ledgers[1]).pooled, (ledgers[0] + ledgers[1]).pooled, what="pooled")
        kept = objective.load_whole(saved(wholes[0]))
        close(kept.total(), wholes[0].total(), 1e-15, "loaded whole")
        assert saved(kept) == saved(wholes[0])
        for merged in (kept + wholes[1], wholes[0] + objective.load_whole(saved(wholes[1]))):
            close(merged.total(), (wholes[0] + wholes[1]).total(), what="merged whole")
            assert (merged.samples, merged.parts) == (40, 2)


def test_three_libraries_and_32_bits():
    """A ledger of a 32-bit JAX step is merged on the host with those of NumPy and torch."""
    objective, parts = objective_of("macro"), list(cut(data(60), 20))
    expected = sum(ledger_of(objective, part) for part in parts)
    narrow = (jnp.asarray(parts[0][0], jnp.float32), *moved(parts[0], jnp.asarray)[1:])
    steps = [ledger_of(objective, narrow), ledger_of(objective, parts[1])]
    steps.append(ledger_of(objective, moved(parts[2], torch.as_tensor)))
    loaded = [objective.load_ledger(saved(step)) for step in steps]
    for merged in (sum(steps), sum(loaded), loaded[0] + steps[1] + steps[2]):
        close(merged.pooled, expected.pooled, 1e-6, "pooled")
        assert [r.count for r in merged.rows] == [r.count for r in expected.rows]


def test_candidates_and_counts():
    """Samples that are compared with each other, and counts, are states like any other."""
    contrast = ll.Objective(ll.Term(("a", "b"), ll.losses.InfoNCE(), axes="batch feature"))
    rng = np.random.default_rng(0)
    pairs = {"a": rng.normal(size=(8, 4)), "b": rng.normal(size=(8, 4))}
    parts = [{n: torch.as_tensor(x[s]) for n, x in pairs.items()} for s in (slice(5), slice(5, 8))]
    wholes = [contrast.statistics(part) for part in parts]
    merged = contrast.load_whole(saved(wholes[0])) + wholes[1]
    close(merged.total(), contrast.loss(pairs), what="contrast")
    objective, (_, labels, options) = objective_of("macro"), data()
    whole = objective.count(labels, **options)
    assert saved(objective.load_whole(saved(whole))) == saved(whole)


def test_what_has_no_number_in_json():
    """NaN and infinity come back as they were; so do integers beyond 2⁵³."""
    objective = objective_of("mean")
    ledger = ledger_of(objective, data())
    state = saved(ledger)
    account = state["books"][0]["account"]
    account["count"]["data"] = [2**53 + 1, 2**62 + 1, 0]
    account["contribution"]["data"] = [
        {"type": "float", "value": v} for v in ("nan", "inf", "-inf")
    ]
    found = objective.load_ledger(state)
    assert saved(found) == state
    assert found.books[0].account.count.tolist() == [2**53 + 1, 2**62 + 1, 0]
    np.testing.assert_array_equal(found.books[0].account.contribution, [np.nan, np.inf, -np.inf])


def test_changed_loss_weight():
    """An epoch whose loss weight changed says so after loading too."""
    ledgers = [
        ledger_of(ll.Objective(classes(loss_weight=w)), data(seed=s)) for s, w in ((0, 1.0), (1, 2))
    ]
    objective = ll.Objective(classes(loss_weight=3.0))
    loaded = objective.load_ledger(saved(ledgers[0] + ledgers[1]))
    with pytest.raises(ll.ReductionError, match="one loss weight for all steps"):
        _ = loaded.pooled


OTHER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from test_state import cut, data, ledger_of, moved, objective_of, whole_of
rank = int(sys.argv[2])
found = {}
for name in ("mean", "macro", "dice", "tilted", "top"):
    objective = objective_of(name)
    part = moved(list(cut(data(), 60))[rank], torch.as_tensor)
    found[name] = [ledger_of(objective, part).state_dict(), whole_of(objective, part).state_dict()]
print(json.dumps(found, allow_nan=False))
"""


def test_processes_merge():
    """What two processes wrote is merged by a third, which saw none of the data."""
    folder = str(Path(__file__).parent)
    runs = [
        subprocess.Popen([sys.executable, "-c", OTHER, folder, str(rank)], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    states = [json.loads(run.communicate(timeout=300)[0]) for run in runs]
    for name in states[0]:
        objective = objective_of(name)
        epoch = sum(objective.load_ledger(state[name][0]) for state in states)
        whole = sum(objective.load_whole(state[name][1]) for state in states)
        expected = float(whole_of(objective, data()).total())
        close(whole.total(), expected, what=f"whole {name}")
        close(epoch.pooled, expected + 0.3, what=f"pooled {name}")
        counts = [row.count for row in ledger_of(objective, data()).rows]
        assert [row.count for row in epoch.rows] == counts


def broken(change):
    """Return a ledger's state after a change."""
    state = copy.deepcopy(saved(ledger_of(objective_of("macro"), data())))
    change(state)
    return state


REFUSED = {
    "no state": (lambda s: s.clear(), "needs what Ledger.state_dict"),
    "a whole": (lambda s: s.update(lossledger="whole"), "of a whole"),
    "version": (lambda s: s.update(version=2), "that this release reads: 1. Found 2"),
    "no books": (lambda s: s.pop("books"), "Found no books"),
    "no terms": (lambda s: s.update(terms=None), "Found no terms"),
    "account cut": (lambda s: s["books"][0]["account"].pop("count"), "Account without.* count"),
    "numbers cut": (lambda s: s["books"][0]["account"]["count"]["data"].pop(), "2 numbers for an"),
    "no type": (lambda s: s["books"][0]["pool"].pop("type"), "no 'type'"),
    "other type": (lambda s: s["books"][0]["pool"].update(type="Exec"), "the type 'Exec'"),
    "text": (
        lambda s: s["books"][0]["account"]["count"].update(data=["1", "2", "3"]),
        "in the place of a number",
    ),
    "more": (lambda s: s.update(seed=1), "unknown, seed"),
    "books of none": (lambda s: s.update(books=[]), "0 books of 1 terms"),
    "cells": (
        lambda s: s["books"][0]["cells"].update(shape=[2]), r"shape \(3,\) over cells of shape \(2,"
    ),
    "regularizer": (lambda s: s["regularizers"].clear(), "the regularizers"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_state_that_is_none(name):
    """A state that is cut short, of another version or of something else is refused."""
    change, message = REFUSED[name]
    with pytest.raises(ll.MatchError, match=message):
        objective_of("macro").load_ledger(broken(change))


STRANGERS = {
    "reduction": (classes(), "reduction"),
    "loss": (
        ll.Term("y", ll.losses.CrossEntropy(label_smoothing=0.1), axes="batch class", target="t",
                reduction=ll.Macro(), classes=CLASSES, keys=SITES),
        "label_smoothing",
    ),
    "classes": (classes(ll.Macro(), classes=["cat", "dog", "wolf"]), "wolf"),
    "weights": (classes(ll.Macro(), class_weight=[1, 2, 3]), "class_weight"),
    "rows": (classes(ll.Macro(), rows="site"), "rows"),
    "name": (classes(ll.Macro(), name="ce"), "the terms cross_entropy in the state and ce"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("kind", ["ledger", "whole"])
def test_state_of_another_objective(name, kind):
    """A state of other terms, reductions, classes, weights or cells is refused, by name."""
    term, message = STRANGERS[name]
    make = {"ledger": ledger_of, "whole": whole_of}[kind]
    state = saved(make(ll.Objective(classes(ll.Macro())), data()))
    with pytest.raises(ll.MatchError, match=message):
        getattr(ll.Objective(term), f"load_{kind}")(state)


def test_cells_of_a_ledger_without_statistic():
    """Where no statistic was kept, classes, reduction and cells are compared all the same."""
    state = saved(ledger_of(ll.Objective(classes(ll.TopMean(0.3), rows="class site")), data()))
    assert state["books"][0]["pool"] is None
    for settings, message in (
        ({"rows": "class"}, "rows"),
        ({"rows": "class site", "classes": 4}, "classes"),
        ({"rows": "class site", "keys": {"site": 5}}, "2 cells along 'site'"),
    ):
        with pytest.raises(ll.MatchError, match=message):
            ll.Objective(classes(ll.TopMean(0.3), **settings)).load_ledger(state)


def test_a_loaded_whole_serves_another_library():
    """A whole that was saved is one of NumPy arrays; parts in torch use it as it is."""
    objective = objective_of("mean")
    logits, labels, options = moved(data(), torch.as_tensor)
    kept = objective.statistics(logits, labels, **options)
    whole = objective.load_whole(saved(kept))
    more = {"parameters": [torch.ones(2, dtype=torch.float64)]}
    expected, _ = objective(logits, labels, **options, **more, whole=kept, part=0)
    found, _ = objective(logits, labels, **options, **more, whole=whole, part=0)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
