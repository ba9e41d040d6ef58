# SPDX-License-Identifier: Apache-2.0
"""Keras models compiled with an objective: what `fit` minimises, and the ledger of an epoch."""

import keras
import numpy as np
import pytest
from keras_runs import (
    JIT,
    MODES,
    RARE_MODES,
    assert_near,
    assert_same_rows,
    brier,
    by_hand,
    cross_entropy,
    labeled,
    linear,
    outputs_of,
    stepped,
    weights_of,
)

import lossledger as ll

# torch.compile says so itself, at the graph break in Keras' train_step.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


def two_terms():
    """Return an objective of two losses on one output, and a regularizer."""
    return ll.Objective(
        cross_entropy(class_weight=[1.0, 1.0, 4.0]), brier(), ll.L2(1e-2, half=False)
    )


@pytest.mark.parametrize("mode", MODES)
def test_step_and_epoch(mode):
    """A step takes the gradient of the total; an epoch's ledger is that of all data at once."""
    x, y, weight = labeled()
    model = linear(kernel_regularizer=keras.regularizers.L2(1e-2))
    objective = two_terms()
    ll.keras.compile(model, objective, keras.optimizers.SGD(1.0), **MODES[mode])
    total, _, kernel, bias = by_hand(objective, model, x, y, sample_weight=weight)
    weights = weights_of(model)
    own = 2 * 1e-2
    found, logs = stepped(model, x, y, sample_weight=weight)
    # Our L2 reads kernel and bias, Keras' the kernel alone.
    assert_near(found[0], kernel + 2 * own * weights[0], "gradient of the kernel")
    assert_near(found[1], bias + own * weights[1], "gradient of the bias")
    added = 1e-2 * (weights[0] ** 2).sum()
    assert_near(logs["loss"], [total + added], "total")
    assert_near(model.ledger.total, total + added, "total in the ledger")

    model.optimizer.learning_rate = 0.0
    expected = by_hand(objective, model, x, y, sample_weight=weight)[1]
    history = model.fit(
        x, y, sample_weight=weight, batch_size=8, epochs=2, verbose=0, shuffle=True,
        validation_data=(x[:10], y[:10]), validation_batch_size=4,
    ).history  # fmt: skip
    for name in ("ce", "brier"):
        mine = [r for r in model.ledger.rows if r.term == name]
        theirs = [r for r in expected.rows if r.term == name]
        assert [r.count for r in mine] == [r.count for r in theirs]
        assert_near([r.numerator for r in mine], [r.numerator for r in theirs], name)
        assert [r.iou for r in mine] == [r.iou for r in theirs]
    added = 1e-2 * (weights_of(model)[0] ** 2).sum()
    assert_near(model.ledger.pooled, expected.total + added, "pooled")
    for row in model.ledger.by("term"):
        assert_near(history[row.term][-1], row.contribution, f"log of {row.term}")
    for row in model.val_ledger.by("term"):
        assert_near(history[f"val_{row.term}"][-1], row.contribution, f"validation of {row.term}")
    plain = by_hand(objective, model, x[:10], y[:10])[1]
    assert_near(model.val_ledger.pooled, plain.total + added, "pooled in validation")


@pytest.mark.parametrize("mode", RARE_MODES)
def test_step_in_other_modes(mode):
    """Compiled where that is not usual, or uncompiled: the same gradient, and the same ledger."""
    x, y, weight = labeled()
    model, objective = linear(), ll.Objective(cross_entropy())
    ll.keras.compile(model, objective, keras.optimizers.SGD(1.0), **RARE_MODES[mode])
    total, ledger, kernel, _ = by_hand(objective, model, x, y, sample_weight=weight)
    found, logs = stepped(model, x, y, sample_weight=weight)
    assert_near(found[0], kernel, "gradient")
    assert_near(logs["ce"], [total], "log")
    assert_same_rows(model.ledger, ledger)


def test_mean_of_batch_means_twin():
    """The check of an epoch finds a ledger that averages batches of different lengths."""
    x, y, _ = labeled()
    model, objective = linear(), ll.Objective(cross_entropy())
    whole = objective(outputs_of(model, x), y)[1]
    parts = [objective(outputs_of(model, x[i : i + 8]), y[i : i + 8])[1] for i in (0, 8, 16)]
    assert_near(sum(parts).pooled, whole.total, "pooled", 1e-12)
    with pytest.raises(AssertionError, match="off by"):
        assert_near(np.mean([p.total for p in parts]), whole.total, "mean of means")


def test_callbacks_see_the_epoch():
    """At the end of an epoch its ledger is there, and within it `read_ledger` has the steps."""
    x, y, _ = labeled()
    model = linear()
    ll.keras.compile(
        model, ll.Objective(cross_entropy()), keras.optimizers.SGD(0.0), log_classes=True
    )

    class Look(keras.callbacks.Callback):
        seen, steps = [], []

        def on_train_batch_end(self, batch, logs=None):
            self.steps.append(sum(r.count for r in ll.keras.read_ledger(self.model).rows))

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append((logs["ce"], self.model.ledger.total))
            for row in self.model.ledger.by("term", "class"):
                assert_near(logs[f"ce_class_{row.cls}"], row.own_mean, f"log of {row.cls}")

    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[Look()])
    assert Look.steps == [8, 16, 22] * 2
    assert len(Look.seen) == 2
    for logged, total in Look.seen:
        assert_near(logged, total, "log at the end of an epoch")
    model.train_on_batch(x[:5], y[:5])
    assert sum(row.count for row in ll.keras.read_ledger(model).rows) == 5


def test_loss_weight_changes_while_training():
    """A variable that a callback assigns takes effect in the next epoch, compiled or not."""
    x, y, _ = labeled()
    model = linear()
    ll.keras.compile(
        model, ll.Objective(cross_entropy(), brier()), keras.optimizers.SGD(0.0), jit_compile=JIT
    )

    class Raise(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.loss_weights["brier"].assign([0.5, 5.0, 50.0][epoch])

    given = {"batch_size": 11, "epochs": 3, "verbose": 0, "shuffle": False}
    first, *more = model.fit(x, y, **given, callbacks=[Raise()]).history["brier"]
    assert_near(more, [10 * first, 100 * first], "Brier")
    assert model.ledger.to_dict()["terms"][1]["loss_weight"] == 50.0
    objective = ll.Objective(cross_entropy(), brier(loss_weight=50.0))
    model.optimizer.learning_rate = 1.0
    total, _, kernel, _ = by_hand(objective, model, x, y)
    found, logs = stepped(model, x, y)
    assert_near(found[0], kernel, "gradient with the new weight")
    assert_near(logs["loss"], [total], "total with the new weight")


def test_loss_weight_that_changed_within_an_epoch_has_no_pooled_value():
    """The step mean is right; a pooled value with two weights does not exist."""
    x, y, _ = labeled(16)
    model = linear()
    ll.keras.compile(model, ll.Objective(brier()), keras.optimizers.SGD(0.0))
    one = ll.Objective(brier(loss_weight=1.0))
    parts = [one(outputs_of(model, x[i : i + 8]), y[i : i + 8])[1].total for i in (0, 8)]

    class Raise(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.loss_weights["brier"].assign([1.0, 3.0][batch])

    model.fit(x, y, batch_size=8, verbose=0, shuffle=False, callbacks=[Raise()])
    assert_near(model.ledger.total, (parts[0] + 3 * parts[1]) / 2, "step mean")
    with pytest.raises(ll.ReductionError, match="loss weight of `brier` changed"):
        _ = model.ledger.pooled


def heads(kind):
    """Return a model with two outputs, as a list or a dict."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    found = {n: keras.layers.Dense(1, name=n)(inputs) for n in ("mean", "variance")}
    return keras.Model(inputs, found if kind == "dict" else list(found.values()))


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_several_outputs(kind):
    """Terms read outputs by name, one of them two at once; each adds what it says."""
    x, _, weight = labeled()
    y = np.random.default_rng(1).normal(size=(22, 1)).astype("float32")
    likelihood = ll.Term(
        ("mean", "variance"), ll.losses.GaussianNLL(variance="log"), "batch value", target="mean"
    )
    size = ll.Term("variance", ll.losses.SquaredError(), "batch value", loss_weight=0.1)
    objective = ll.Objective(likelihood, size)
    model = heads(kind)
    targets = {"mean": y, "variance": 0 * y}
    given = targets if kind == "dict" else list(targets.values())
    ll.keras.compile(model, objective, keras.optimizers.SGD(0.0))
    weights = weights_of(model)
    outputs = {
        "mean": x @ weights[0] + weights[1], "variance": x @ weights[2] + weights[3],
    }  # fmt: skip
    total, ledger = objective(outputs, targets, sample_weight=weight)
    if kind == "dict":
        weight = {"mean": weight, "variance": weight}
    logs = model.evaluate(
        x, given, sample_weight=weight if kind == "dict" else [weight, weight], batch_size=22,
        verbose=0, return_dict=True,
    )  # fmt: skip
    assert_near(logs["loss"], total, "total")
    assert_same_rows(model.val_ledger, ledger)


def test_layers_add_their_losses_once():
    """Activity regularizers and add_loss enter the total as Keras enters them."""

    class Adds(keras.layers.Layer):
        def call(self, x):
            self.add_loss(0.1 * keras.ops.sum(x**2))
            return x

    def model():
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(3, activity_regularizer="l2", kernel_regularizer="l1", name="y")
        return keras.Sequential([keras.Input((4,)), dense, Adds()])

    x, y, _ = labeled()
    ours, theirs = model(), model()
    ll.keras.compile(ours, ll.Objective(cross_entropy()), keras.optimizers.SGD(1.0))
    theirs.compile(
        keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    found, logs = stepped(ours, x, y)
    wanted, their_logs = stepped(theirs, x, y)
    for mine, other in zip(found, wanted, strict=True):
        assert_near(mine, other, "gradient")
    assert_near(logs["loss"], their_logs["loss"], "total")
    assert_near(ours.ledger.total, logs["loss"][0], "total in the ledger")


class Subclassed(keras.Model):
    """A model that is not built before it sees data."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        """Return the outputs."""
        return self.dense(x)


def test_subclassed_and_compiled_again():
    """A model that is built by `fit`; compiled again it has the new loss, by us or by Keras."""
    x, y, _ = labeled()
    keras.utils.set_random_seed(0)
    model = Subclassed()
    ll.keras.compile(model, ll.Objective(cross_entropy()), keras.optimizers.SGD(0.0))
    model.fit(x, y, batch_size=8, verbose=0)
    assert sum(row.count for row in model.ledger.rows) == 22
    ll.keras.compile(model, ll.Objective(brier()), keras.optimizers.SGD(0.0))
    history = model.fit(x, y, batch_size=22, verbose=0).history
    total = ll.Objective(brier())(outputs_of(model, x), y)[0]
    assert_near(history["brier"], [total], "the second objective")
    assert "ce" not in history
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    wanted = ll.Objective(cross_entropy())(outputs_of(model, x), y)[0]
    model.optimizer.learning_rate = 0.0
    history = model.fit(x, y, batch_size=11, epochs=2, verbose=0).history
    assert_near(history["loss"], [wanted, wanted], "Keras' own loss")
    assert set(history) == {"loss"}


def test_masks_of_layers():
    """A mask that layers left on the output removes its elements from every sum."""
    x, y, weight = labeled(shape=(6,))
    x[np.arange(6) >= np.arange(22)[:, None] % 5 + 1] = 0.0
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(3, name="y")
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.Masking(0.0), dense])
    objective = ll.Objective(cross_entropy("batch time class"))
    ll.keras.compile(model, objective, keras.optimizers.SGD(1.0), jit_compile=JIT)
    mask = (x != 0).any(-1)
    total, ledger, kernel, _ = by_hand(objective, model, x, y, mask=mask, sample_weight=weight)
    found, logs = stepped(model, x, y, sample_weight=weight)
    assert_near(found[0], kernel, "gradient")
    assert_near(logs["loss"], [total], "total")
    assert_same_rows(model.ledger, ledger)


def test_without_the_mask_twin():
    """The check of masks finds a total over the padding."""
    x, y, _ = labeled(shape=(6,))
    objective = ll.Objective(cross_entropy("batch time class"))
    model = linear(shape=(6,))
    mask = np.arange(6) < np.arange(22)[:, None] % 5 + 1
    whole, masked = (by_hand(objective, model, x, y, mask=m)[0] for m in (None, mask))
    with pytest.raises(AssertionError, match="off by"):
        assert_near(whole, masked, "total over the padding")


class Computes(keras.Model):
    """A model with a loss of its own."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return what is minimised."""
        return keras.ops.sum(y_pred)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ll.keras.compile(ll.Objective(brier()), linear()), "needs a Keras model"),
        (lambda: ll.keras.compile(Computes(), ll.Objective(brier())), "a compute_loss of its own"),
        (lambda: ll.keras.restore(linear()), "can be restored"),
        (lambda: ll.keras.read_ledger(linear()), "keeps a ledger"),
        (lambda: ll.keras.LedgerCallback(), "takes one objective, or terms"),
        (lambda: ll.keras.LedgerCallback(ll.Objective(brier()), brier()), "takes one objective"),
    ],
    ids=["no model", "own loss", "not restorable", "no ledger", "nothing", "both"],
)
def test_wrong_use_is_explained(call, message):
    """What cannot be compiled, restored or read is refused with its reason."""
    with pytest.raises(ll.MatchError, match=message):
        call()


def test_one_name_for_a_term_and_a_metric():
    """A term with the name of a metric would hide it in the logs."""
    x, y, _ = labeled()
    model = linear()
    objective = ll.Objective(cross_entropy(name="loss"))
    ll.keras.compile(model, objective, keras.optimizers.SGD(0.0))
    with pytest.raises(ll.MatchError, match="Found loss twice"):
        model.fit(x, y, batch_size=22, verbose=0)
