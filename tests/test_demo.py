# SPDX-License-Identifier: Apache-2.0
"""The demo: its data are what it says, its numbers add up, its verdicts follow their rule."""

import json
import math
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import lossledger as ll
from lossledger import demo
from lossledger.report import plots

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from lossledger.demo import experiment, network, objectives, run, scenes, summary, workers  # noqa: E402

RARE = scenes.CLASSES[scenes.RARE]
SEEDS = 2


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One quick demo: its folder, its exit status, its numbers, what it printed."""
    out = tmp_path_factory.mktemp("demo") / "plots"
    numbers, printed = StringIO(), StringIO()
    with redirect_stdout(numbers), redirect_stderr(printed):
        status = demo.main(demo.Options(out=out, json="-", seeds=SEEDS, quick=True))
    return out, status, json.loads(numbers.getvalue()), printed.getvalue()


@pytest.fixture(scope="module")
def data():
    """The scenes that the full demo trains and measures on."""
    return experiment.make_data(experiment.Settings())


def not_finite(node, path=""):
    """Return the places of numbers that are not finite."""
    if isinstance(node, dict):
        return [p for key, value in node.items() for p in not_finite(value, f"{path}/{key}")]
    if isinstance(node, list):
        return [p for i, value in enumerate(node) for p in not_finite(value, f"{path}/{i}")]
    return [path] if isinstance(node, float) and not math.isfinite(node) else []


def readings(numbers):
    """Return every ledger in the demo's numbers."""
    runs = [run for objective in numbers["objectives"] for run in objective["runs"]]
    return [
        reading
        for run in runs
        for reading in (*run["epochs"], run["test"], run["test_under_baseline"])
    ]


def adds_up(reading, tolerance=1e-5):
    """Say whether rows add up to the total, up to the rounding of single precision."""
    total = sum(row["contribution"] for row in reading["rows"])
    return abs(total - reading["total"]) <= tolerance * abs(reading["total"])


def test_numbers_are_complete_and_finite(quick):
    """Every objective has every seed, every term, class and label; every number is finite."""
    _, status, numbers, _ = quick
    assert status == 0
    assert not_finite(numbers) == []
    names = [objective["name"] for objective in numbers["objectives"]]
    assert names[0] == "baseline"
    assert len(names) == len(set(names)) == 7
    for objective in numbers["objectives"]:
        assert [run["seed"] for run in objective["runs"]] == list(range(SEEDS))
    expected = {
        (term, cls, label)
        for term in ("bce", "dice")
        for cls in scenes.CLASSES
        for label in ("negative", "positive")
    }
    for reading in readings(numbers):
        assert {(r["term"], r["class"], r["label"]) for r in reading["rows"]} == expected
        assert set(reading["iou"]) == set(scenes.CLASSES)


def test_finite_twin():
    """A number that is not finite is found, wherever it hides."""
    assert not_finite({"a": [1.0, {"b": math.nan}], "c": None}) == ["/a/1/b"]


def test_rows_add_up(quick):
    """The rows of every ledger add up to its total, epochs and unseen scenes alike."""
    _, _, numbers, _ = quick
    found = readings(numbers)
    epochs = experiment.QUICK.epochs
    assert len(found) == 7 * SEEDS * (epochs + 2)
    assert all(adds_up(reading) for reading in found)


def test_rows_add_up_twin(quick):
    """A ledger that lost its largest row, or whose total moved by 0.1 %, does not add up."""
    reading = readings(quick[2])[0]
    rows = sorted(reading["rows"], key=lambda row: row["contribution"])
    assert not adds_up(reading | {"rows": rows[:-1]})
    assert not adds_up(reading | {"total": reading["total"] * 1.001})


def test_counts_are_those_of_the_data(quick):
    """An epoch's counts and supports are the pixels of the scenes, by class and label."""
    _, _, numbers, _ = quick
    trained = experiment.make_data(experiment.QUICK).train
    pixels = trained.masks[..., 0].size
    rows = numbers["objectives"][0]["runs"][0]["epochs"][-1]["rows"]
    for place, cls in enumerate(scenes.CLASSES):
        positive, negative = (
            next(r for r in rows if (r["term"], r["class"], r["label"]) == ("bce", cls, label))
            for label in ("positive", "negative")
        )
        support = int(trained.masks[..., place].sum())
        assert positive["count"] == positive["support"] == support
        assert negative["count"] == pixels - support


def test_it_names_the_class_that_the_average_hides(quick):
    """The rare class is overlooked by the baseline, and said to be."""
    _, _, numbers, printed = quick
    overlooked = numbers["objectives"][0]["runs"][0]["epochs"][-1]["overlooked"]
    assert RARE in {row["class"] for row in overlooked}
    assert f"The average hides class {RARE}" in printed
    for words in ("epoch 1", "own mean", "share", "IoU", "worst class", "sum 64", "All trainings"):
        assert words in printed


def test_plots_are_written(quick):
    """Every plot is there, a PNG and an SVG that can be read."""
    out, _, numbers, _ = quick
    names = {"waterfall", "share", "iou-by-class", "rare-class"}
    paths = sorted(out.iterdir())
    assert {path.name for path in paths} == {
        f"{n}.{kind}" for n in names for kind in ("png", "svg")
    }
    assert sorted(numbers["files"]) == [str(path) for path in paths]
    for path in paths:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")  # noqa: S314 - our own


def test_macro_is_the_mean(quick):
    """Over channels of equal size the macro mean is the mean; by class and label it is not."""
    _, _, numbers, _ = quick
    by_name = {objective["name"]: objective for objective in numbers["objectives"]}

    def gaps(name):
        return [
            abs(run["test"]["total"] - run["test_under_baseline"]["total"])
            for run in by_name[name]["runs"]
        ]

    assert max(gaps("macro")) < 1e-6
    assert min(gaps("macro by label")) > 1e-4


def test_batch_sizes(quick):
    """A sum is the mean times the elements of a step; the mean does not know the batch."""
    _, _, numbers, _ = quick
    runs = {(run["name"], run["batch"]): run for run in numbers["batch_sizes"]}
    assert set(runs) == {(name, batch) for name in ("mean", "sum") for batch in (32, 64)}
    pixels = numbers["settings"]["scenes"]["size"] ** 2
    for (name, batch), found in runs.items():
        assert found["first_step"] == pytest.approx(found["totals"][0], rel=0.5)
        factor = 1 if name == "mean" else batch * pixels * len(scenes.CLASSES)
        for total, element in zip(found["totals"], found["per_element"], strict=True):
            assert total == pytest.approx(factor * element, rel=1e-5)
    start = {key: found["first_step"] for key, found in runs.items()}
    assert start["mean", 64] / start["mean", 32] == pytest.approx(1, rel=0.05)
    assert start["sum", 64] / start["mean", 64] == pytest.approx(64 * pixels * 5, rel=1e-5)


def test_the_rare_class_is_rare(data):
    """Well under 1 % of the pixels, to train on and unseen; every other class has over 2 %."""
    for part in data:
        *others, rare = part.pixel_shares()
        assert 0 < rare < 0.005
        assert min(others) > 0.02


def test_test_digits_are_unseen():
    """No scanned digit is in both parts, and none is lost."""
    train, test = scenes.split_digits()
    seen = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in seen for image in test.images)
    assert len(train.images) + len(test.images) == 1797


def test_scenes_follow_from_their_seed(data):
    """The same seed gives the same scenes, another seed others; a pixel has one class at most."""
    digits, _ = scenes.split_digits()
    settings = scenes.SceneSettings()
    first, again, other = (scenes.compose(8, digits, s, settings) for s in (1, 1, 2))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.images, other.images)
    assert data.train.masks.sum(axis=-1).max() == 1
    assert set(np.unique(data.train.masks)) == {0.0, 1.0}


def test_masks_are_the_ink(data):
    """Where a mask is set there is ink above the threshold, and nowhere else."""
    assert np.array_equal(data.test.masks.any(axis=-1), data.test.images > scenes.INK)


def test_resize():
    """Scaling to the same side changes nothing; an even image stays even at every side."""
    image = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    assert np.allclose(scenes.resize(image, 8), image)
    for side in (8, 9, 14):
        even = scenes.resize(np.full((8, 8), 0.5, dtype=np.float32), side)
        assert even.shape == (side, side)
        assert np.allclose(even, 0.5)


def test_network_is_seeded_and_keeps_to_itself():
    """The seed alone decides the first weights, and the caller's random numbers go on."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, same, other = (network.build(5, 4, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert one(torch.zeros(2, 32, 32)).shape == (2, 32, 32, 5)


def test_processes_change_no_number():
    """Runs in two processes give what they give in one, and tell of every step."""
    small = replace(experiment.QUICK, train_scenes=32, test_scenes=32, epochs=1)
    base = objectives.baseline()
    jobs = [experiment.Job(base, seed, 16, 1, small) for seed in (0, 1)]
    made = experiment.make_data(small)
    found = []
    for count in (1, 2):
        events = list(workers.events(jobs, made, base, count))
        steps = sum(e.steps for e in events if isinstance(e, workers.Advanced))
        assert steps == sum(job.steps for job in jobs)
        outcomes = [e for e in events if isinstance(e, experiment.Outcome)]
        found.append({o.job.seed: (o.test, o.epochs) for o in outcomes})
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_verdicts():
    """Better and worse need every seed on one side, by the margin; anything else is unclear."""
    base = summary.spread([0.30, 0.40])
    assert summary.verdict(summary.spread([0.43, 0.90]), base) == "better"
    assert summary.verdict(summary.spread([0.41, 0.90]), base) == "no clear difference"
    assert summary.verdict(summary.spread([0.35, 0.90]), base) == "no clear difference"
    assert summary.verdict(summary.spread([0.00, 0.27]), base) == "worse"


def test_weights_follow_by_rule():
    """Inverse shares, odds and rarity, derived by hand for five shares."""
    shares = (0.04, 0.04, 0.04, 0.04, 0.004)
    # 1/0.04 = 25 four times and 1/0.004 = 250: the mean is 70.
    assert objectives.inverse_shares(shares) == pytest.approx((*[25 / 70] * 4, 250 / 70))
    assert objectives.odds_against(shares) == pytest.approx((24, 24, 24, 24, 249))
    assert objectives.times_rarer(shares) == pytest.approx(10)


def test_json_to_a_file(tmp_path):
    """`--json FILE` writes the file, and a NaN is refused rather than written."""

    class Found:
        def __init__(self, seconds):
            self.seconds = seconds

        def to_dict(self):
            return {"seconds": self.seconds}

    path = tmp_path / "numbers.json"
    run.write_json(Found(1.5), [tmp_path / "a.png"], str(path))
    assert json.loads(path.read_text()) == {"seconds": 1.5, "files": [str(tmp_path / "a.png")]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_json(Found(math.nan), [], str(path))


def test_no_seeds_is_an_error():
    """A demo without a seed says what to pass."""
    with pytest.raises(ll.DomainError, match="`seeds` must be at least 1"):
        demo.main(demo.Options(seeds=0))


def test_missing_extra(monkeypatch):
    """A missing library is named, with the command that installs it."""
    monkeypatch.setitem(demo.NEEDS, "no_such_module", "no-such-package")
    with pytest.raises(ll.MissingExtraError, match=r"no-such-package.*lossledger\[demo\]"):
        demo.main(demo.Options())


def ledger_of(classes):
    """Return the ledger of a small cross entropy."""
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(4, classes))
    targets = (rng.random((4, classes)) < 0.5).astype(float)
    term = ll.Term(
        "y",
        ll.losses.BinaryCrossEntropy(),
        axes="batch class",
        classes=[f"c{i}" for i in range(classes)],
    )
    return ll.Objective(term)(outputs, targets)[1]


def bars(figure):
    """Return the horizontal bars of a figure as (left, width)."""
    (axes,) = figure.axes
    return [(patch.get_x(), patch.get_width()) for patch in axes.patches]


@pytest.mark.parametrize("classes", [1, 3, 40])
def test_waterfall_ends_at_the_total(classes):
    """Each bar starts where the one above ended, and the last is the total, however many rows."""
    ledger = ledger_of(classes)
    *rows, total = bars(plots.waterfall(ledger))
    ends = np.cumsum([width for _, width in rows])
    assert [left for left, _ in rows] == pytest.approx([0, *ends[:-1]])
    assert total == pytest.approx((0, ledger.total))
    assert ends[-1] == pytest.approx(ledger.total)
    assert len(rows) == min(classes, plots.MOST_BARS + 1)


def test_waterfall_twin():
    """Bars that lost a row do not end at the ledger's total."""
    ledger = ledger_of(3)
    rows = ledger.by("class")[:-1]
    figure = plots.waterfall_of([r.cls for r in rows], [r.contribution for r in rows])
    assert bars(figure)[-1][1] != pytest.approx(ledger.total)


def test_plots_refuse_columns_of_different_length():
    """Names and numbers must match one to one."""
    with pytest.raises(ll.MatchError, match="names 1, contributions 2"):
        plots.waterfall_of(["a"], [1.0, 2.0])
