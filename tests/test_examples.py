# SPDX-License-Identifier: Apache-2.0
"""Every script in examples/ runs to its end, and the numbers that it prints bear out its answer."""

import math
from pathlib import Path

import pytest
from printed import ROUNDING, Claims, Printed, answer_of, check_claims, near

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def batch_size(printed: Printed) -> Claims:
    """A mean is the same at 32 and 64; a sum goes with the number of steps."""
    mean, mean_64 = (printed.row(1, f"mean {b}") for b in (32, 64))
    total, total_64 = (printed.row(1, f"sum {b}") for b in (32, 64))
    yield "the pooled mean is the same", near(mean[2], mean_64[2], 1e-8)
    apart = printed.row(1, "pooled mean, 32 against 64, deviation:")
    yield "to the last digits", abs(apart[0]) < ROUNDING
    yield "the summed steps cost 57/29 times as much", near(total_64[1] / total[1], 57 / 29, 1e-8)
    yield "the pooled sum is 1797 means", near(total[2], 1797 * mean[2], 1e-7)
    for batch in (32, 64):
        step_mean, pooled, moved = printed.row(2, str(batch))
        yield "a short last batch moves the step mean", near(step_mean - pooled, moved, 1e-5)
        yield "and not the pooled one", near(pooled, mean[2], 1e-8)
    first, slow, fast, summed, lost = (
        printed.row(3, label)
        for label in (
            "mean 32, rate 0.1",
            "mean 64, rate 0.1",
            "mean 64, rate 0.2",
            "sum 32, rate 0.1/32",
            "sum 32, rate 0.1",
        )
    )
    yield "twice the batch at the same rate is behind", slow[4] > 1.5 * first[4]
    yield "at twice the rate it keeps up", near(first[4], fast[4], 0.1)
    yield "a sum at rate / 32 learns as the mean does", near(summed[4], 32 * first[4], 0.02)
    yield "at the same rate it learns nothing", lost[5] < 0.2 and first[5] > 0.8
    rules = ("weights", "elements", "nonzero", "mask", "samples", "1000.0")
    rows = [printed.row(4, rule) for rule in rules]
    yield "the divisors by hand are the divisors", max(abs(row[4]) for row in rows) < ROUNDING
    top, top_weighted = 1000 * rows[-1][1], 1000 * rows[-1][3]
    for rule, (masked, loss, weighted, both, *_) in zip(rules[:-1], rows[:-1], strict=True):
        yield f"{rule}: one numerator under the mask", near(masked * loss, top, 1e-4)
        yield f"{rule}: and one with weights", near(weighted * both, top_weighted, 1e-4)


def sum_or_mean(printed: Printed) -> Claims:
    """The gradient ratio is B; rate / B and decay * B give the same network."""
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        _, _, ratio, off = printed.row(1, name)
        yield "the gradient ratio is B", near(ratio, 48)
        yield "for every element", abs(off) < ROUNDING
    for same in ("SGD, rate / B", "momentum, rate / B", "Adam, same rate, eps * B"):
        yield f"{same}: the same network", abs(printed.row(2, same)[0]) < ROUNDING
    for other in ("SGD, same rate", "Adam, same rate"):
        yield f"{other}: another network", printed.row(2, other)[0] > 1e-5
    kept, left, scaled = (
        printed.row(3, label)
        for label in ("mean, rate, decay", "sum, rate / B, decay", "sum, rate / B, decay * B")
    )
    yield "summing the data makes the penalty B times smaller", near(kept[0] / left[0], 48, 1e-4)
    yield "decay * B restores it", near(kept[0], scaled[0])
    yield "and the network", abs(scaled[4]) < ROUNDING
    yield "decay alone does not", left[4] > 1e-3
    mean, tilted, top = (
        printed.row(4, label) for label in ("Mean()", "LogMeanExp(tilt=1.0)", "Max()")
    )
    yield "the maximum lowers the worst", top[2] < 0.8 * mean[2]
    yield "and raises the mean", top[0] > 2 * mean[0]
    yield "a tilted mean lowers the worst", tilted[2] < 0.8 * mean[2]


def order_of_reduction(printed: Printed) -> Claims:
    """The five classes' numbers follow from their shares and means by hand."""
    shares, means = (0.6, 0.2, 0.15, 0.04, 0.01), (0.05, 0.1, 0.12, 0.2, 2.0)
    micro = sum(s * m for s, m in zip(shares, means, strict=True))
    tilted = math.log(sum(math.exp(2 * m) for m in means) / 5) / 2
    yield "the rare class costs 2", near(printed.row(1, "sign")[1], 2.0)
    yield "and is found badly", near(printed.row(1, "sign")[4], 0.23)
    yield "the average is small", near(printed.row(1, "total")[0], micro)
    yield "the rare class is named", near(printed.row(1, "sign: own mean")[0], 2.0)
    for label, total, weight in (
        ("micro: every pixel alike", micro, 1),
        ("macro: mean per class, then classes", sum(means) / 5, 20),
        ("worst class", 2.0, 100),
    ):
        found = printed.row(2, label)
        yield label, near(found[0], total)
        yield f"{label}: a sign pixel's weight", near(found[2], weight)
    yield "tilted", near(printed.row(2, "tilted (t = 2) over classes")[0], tilted, 1e-4)
    cells, one, _ = printed.row(3, "everything: one Dice")
    per_class = printed.row(3, "the batch: one per class")
    absent = printed.row(3, "an image: per image and class, absent too")
    present = printed.row(3, "an image: per image and class present")
    yield "one Dice", near(cells, 1)
    yield "a Dice per class shows what one Dice hides", per_class[1] > 3 * one
    # 20 cells; 3 images lack the sign, and nothing can be right there: a loss of 1 each.
    yield "absent classes cost 1", near(20 * absent[1], 17 * present[1] + 3, 1e-3)
    few = {n: printed.row(4, n)[4] for n in ("micro", "macro")}
    yield "the micro mean does not find the smallest group", few["micro"] < 0.1
    yield "the macro mean does", few["macro"] > 0.5


def two_outputs(printed: Printed) -> Claims:
    """A layer's gradient is the weighted sum of those of the losses that it feeds."""
    digit, place = (printed.row(1, n) for n in ("digit cross_entropy", "place squared_error"))
    yield "the rows add up", near(digit[1] + place[1], printed.row(1, "total")[0], 1e-5)
    yield "w2 = 0.3", near(place[1], 0.3 * place[0], 1e-4)
    for layer in "ABCD":
        yield f"{layer}: w1 dL1 + w2 dL2", abs(printed.row(2, layer)[-1]) < ROUNDING
    head = printed.row(2, "C")
    yield "C: one loss, and w1 = 1", len(head) == 3 and near(head[0] - head[1], 0)
    head = printed.row(2, "D")
    yield "D: one loss, and w2 = 0.3", len(head) == 3 and near(head[1], 0.3 * head[0], 1e-3)
    for layer in "AB":
        first, second, total, _ = printed.row(2, layer)
        yield f"both losses reach {layer}", min(first, second, total) > 0
    _, _, ratio, change = printed.row(3, "C")
    yield "w2 does not change C's gradient", near(ratio, 1) and change == 0
    yield "it multiplies D's", near(printed.row(3, "D")[2], 10)
    yield "C is the same after one step", printed.row(4, "1 3.0")[2] == 0
    yield "and not after two", printed.row(4, "2 3.0")[2] > 0
    light, heavy = printed.row(4, "400 0.3"), printed.row(4, "400 3.0")
    yield "the heavier loss gets lower", heavy[1] < light[1]
    yield "and the other stays higher", heavy[0] > light[0]


def cifar_tutorial_on_digits(printed: Printed) -> Claims:
    """The total is the sum of its parts, and so is its running average."""
    for step in (1, 2, 10, 30, 100, 150):
        row = printed.row(1, str(step))
        raw, average = row[0::2], row[1::2]
        yield f"step {step}: the parts add up", abs(sum(raw[:3]) - raw[3]) < 2.1e-5
        yield f"step {step}: their averages too", abs(sum(average[:3]) - average[3]) < 2.1e-5
    first = printed.row(1, "1")
    yield "an average starts at 0", near(first[7], 0.1 * first[6], 1e-4)
    second = printed.row(1, "2")
    yield "and keeps 0.9", near(second[7], 0.9 * first[7] + 0.1 * second[6], 1e-4)
    names = ("cross_entropy", "local3/weight_loss", "local4/weight_loss")
    mean = [printed.row(2, name)[0] for name in names]
    yield "the mean step adds up", near(sum(mean), printed.row(2, "total")[0], 1e-5)
    for name in (
        "total - sum of its parts",
        "total - the same in plain PyTorch",
        "average of total - sum of averages",
        "L2 in the loss - SGD(weight_decay=0.004)",
    ):
        yield name, abs(printed.row(3, name)[0]) < ROUNDING


def accumulation(printed: Printed) -> Claims:
    """However 32 lines are split, sums give the gradient of one batch, and means do not."""
    whole = printed.row(1, "1 x 32")
    for split in ("4 x 8", "8 x 4, uneven"):
        yield f"{split}: every character is in a part", sum(printed.row(1, split)) == whole[0]
    ranks = [sum(printed.row(1, f"2 ranks, rank {rank}")) for rank in (0, 1)]
    yield "and on a rank, not as many on each", sum(ranks) == whole[0] and ranks[0] != ranks[1]
    loss = printed.row(2, "1 x 32")[0]
    for split in ("4 x 8", "8 x 4, uneven", "2 ranks"):
        plain, off, ours, exact = printed.row(2, split)
        yield f"{split}: means give another loss", 1e-5 < plain - loss < 0.1
        yield f"{split}: and another gradient", 0.03 < off < 1
        yield f"{split}: sums give the loss", near(ours, loss) and loss > 4
        yield f"{split}: and the gradient", abs(exact) < ROUNDING
    one, plain, ours = (
        printed.row(3, way) for way in ("1 x 32", "8 x 4, mean of means", "8 x 4, lossledger")
    )
    yield "training is the same with sums", abs(ours[1]) < ROUNDING and near(ours[0], one[0])
    yield "and another one with means", plain[1] > 0.01 and plain[0] > one[0]
    rows = [printed.row(4, f"next character {k}") for k in ("vowel", "consonant", "space", "mark")]
    yield "every rank counts every character", sum(row[0] for row in rows) == whole[0]
    yield "all ranks have one ledger", all(row[:2] == row[2:] for row in rows)
    balance = printed.row(4, "balance")
    total = sum(row[1] for row in rows) + balance[1]
    yield "whose rows add up to the loss", near(total, loss, 1e-6)
    yield "to the last bit", abs(printed.row(4, "largest deviation:")[0]) == 0


def flax_nnx(printed: Printed) -> Claims:
    """Every epoch's total is its parts; merged batches give the loss of all digits at once."""
    for epoch in (1, 5):
        total, data, penalty, _ = printed.row(1, str(epoch))
        yield f"epoch {epoch}: the parts add up", abs(total - data - penalty) < 1.1e-4
    yield "the network learns", printed.row(1, "5")[3] > 0.2 + printed.row(1, "1")[3]
    merged, alone = (printed.row(2, n)[0] for n in ("merged batches", "optax, one batch"))
    yield "merged batches give the loss of one batch", near(merged, alone) and merged < 0.5
    yield "to the last digits", abs(printed.row(2, "deviation")[0]) < ROUNDING
    steps = printed.row(2, "total")[0]
    rows = [printed.row(2, f"digit data {k}") for k in range(10)]
    penalty = printed.row(2, "l2 (regularizer)")[0]
    yield "every digit is counted", sum(row[0] for row in rows) == 1797
    yield "the rows add up", abs(sum(row[2] for row in rows) + penalty - steps) < 1e-4


CLAIMS = {
    f.__name__: f
    for f in (
        *(accumulation, batch_size, sum_or_mean, order_of_reduction),
        *(two_outputs, cifar_tutorial_on_digits, flax_nnx),
    )
}


def test_there_are_examples():
    """There is a script for each of the four questions, and claims for each script."""
    assert len(EXAMPLES) >= 4
    assert [script.stem for script in EXAMPLES] == sorted(CLAIMS)


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example(script, tmp_path):
    """Each claim holds of the numbers printed; of negated or mixed-up ones it does not."""
    text = answer_of(script, tmp_path)
    print(text)
    check_claims(Printed(text), CLAIMS[script.stem])


@pytest.mark.parametrize("code", ["1 / 0", "print('done')"], ids=["raises", "no number"])
def test_example_twin(code, tmp_path):
    """A script that fails, or that answers nothing, is found."""
    script = tmp_path / "broken.py"
    script.write_text(code)
    with pytest.raises(AssertionError, match=r"ZeroDivisionError|prints no number"):
        answer_of(script, tmp_path)


def test_printed():
    """Numbers are read from the first line with the label, in the section asked for."""
    one = "1. One of 3\n\n   a b c\n   a b   1.5   2e-3 w1\n   a   -7\n\n"
    text = one + "2. Two\n\n   a   12.5%\n\nAnswer\n   b 9\n"
    printed = Printed(text)
    assert printed.row(1, "a b") == [1.5, 2e-3]
    assert printed.row(1, "a") == [1.5, 2e-3]
    assert printed.row(2, "a") == [12.5]


@pytest.mark.parametrize(("section", "label"), [(1, "c"), (2, "a b"), (2, "b"), (3, "a")])
def test_printed_twin(section, label):
    """A label or a section that is not there is an error, not an empty list."""
    printed = Printed("1. One\n\n   a b   1.5\n\n2. Two\n\n   a   2\nAnswer\n   b 1\n")
    with pytest.raises(AssertionError, match=r"no line|no section"):
        printed.row(section, label)
