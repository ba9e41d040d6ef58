# SPDX-License-Identifier: Apache-2.0
"""In which order are classes, pixels and samples reduced, and which class does it hide?"""

import math
from functools import partial
from statistics import fmean

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import lossledger as ll
from lossledger.reductions import AbstractReduction, Chain

CLASSES = ("road", "sky", "house", "car", "sign")
PIXELS = (6000, 2000, 1500, 400, 100)
MEANS = (0.05, 0.10, 0.12, 0.20, 2.00)
WRONG = 2.5
CONFUSED = {
    ("road", "sky"): 60, ("road", "house"): 5, ("road", "car"): 10,
    ("sky", "road"): 35, ("sky", "house"): 37, ("sky", "car"): 3,
    ("house", "road"): 13, ("house", "sky"): 35, ("house", "car"): 22,
    ("car", "road"): 20, ("car", "house"): 10,
    ("sign", "road"): 40, ("sign", "house"): 37,
}  # fmt: skip
"""Pixels of one class (first) that the network takes for another (second)."""
VALID = (4000, 3000, 2000, 1000)
"""Pixels of each image; the rest of its 50 x 80 canvas is padding. All signs are in the last."""
AXES = "batch height width class"
SEEDS = (0, 1, 2)


def pixel(true: int, predicted: int, value: float) -> tuple[int, list[float]]:
    """Return a pixel's label and log probabilities, made so that it costs `value`."""
    rest = 1 - math.exp(-value)
    others = [0.25 * rest] * 5
    if predicted != true:
        others = [rest / 30] * 5
        others[predicted] = 0.9 * rest
    others[true] = math.exp(-value)
    return true, [math.log(p) for p in others]


def pixels() -> list[tuple[int, list[float]]]:
    """Return 10 000 pixels with the shares, the own means and the confusions above."""
    found = []
    for c, name in enumerate(CLASSES):
        missed = {CLASSES.index(p): n for (t, p), n in CONFUSED.items() if t == name}
        hits = PIXELS[c] - sum(missed.values())
        easy = (PIXELS[c] * MEANS[c] - sum(missed.values()) * WRONG) / hits
        found += [pixel(c, c, easy)] * hits
        for other, count in missed.items():
            found += [pixel(c, other, WRONG)] * count
    return found


def images() -> tuple[Tensor, Tensor, Tensor]:
    """Return (logits, labels, mask): the signs in the last image, all else by chance."""
    found = pixels()
    order = torch.randperm(9900, generator=torch.Generator().manual_seed(0)).tolist()
    order += range(9900, 10_000)
    logits, labels = torch.zeros(4, 4000, 5).double(), torch.zeros(4, 4000).long()
    mask = torch.zeros(4, 4000, dtype=torch.bool)
    at = 0
    for image, size in enumerate(VALID):
        for place in range(size):
            labels[image, place], row = found[order[at]]
            logits[image, place] = torch.tensor(row).double()
            at += 1
        mask[image, :size] = True
    return logits.view(4, 50, 80, 5), labels.view(4, 50, 80), mask.view(4, 50, 80)


def reductions() -> dict[str, ll.Objective]:
    """Return the cross entropy under every order, by what it does in words."""
    classes = ll.Mean(by="class")
    orders: dict[str, AbstractReduction | Chain] = {
        "micro: every pixel alike": ll.Mean(),
        "mean per image, then images": ll.Mean("height width").then(ll.Mean()),
        "macro: mean per class, then classes": ll.Macro("class"),
        "macro in each image, then images": ll.Mean(by="batch class", empty="skip")
        .then(ll.Mean("class"))
        .then(ll.Mean()),
        "tilted (t = 2) over classes": classes.then(ll.LogMeanExp(2.0)),
        "worst class": classes.then(ll.Max()),
        "tilted (t = 2) over pixels": ll.LogMeanExp(2.0),
        "worst 5 % of pixels": ll.TopMean(0.05),
    }
    loss = ll.losses.CrossEntropy()
    return {
        words: ll.Objective(ll.Term("pixels", loss, axes=AXES, classes=CLASSES, reduction=order))
        for words, order in orders.items()
    }


def show_classes(ledger: ll.Ledger) -> None:
    """Print the micro mean by class: what the total is made of."""
    print("1. Five classes, 10 000 pixels, micro mean: the ledger\n")
    heads = ("pixels", "own mean", "contribution", "share", "IoU")
    print(f"   {'class':<8}" + "".join(f"{h:>14}" for h in heads))
    for row in ledger.by("class"):
        numbers = f"{row.own_mean or 0:>14.4f}{row.contribution:>14.4f}{row.share or 0:>14.2%}"
        print(f"   {row.cls:<8}{row.count:>14}{numbers}{row.iou or 0:>14.3f}")
    print(f"   {'total':<8}{'':>28}{ledger.total:>14.4f}\n\n   overlooked():")
    for row in ledger.overlooked():
        print(f"      {row.cls}: own mean {row.own_mean:.2f}, share {row.share:.1%}")


def show_orders(data: tuple[Tensor, Tensor, Tensor]) -> dict[str, ll.Ledger]:
    """Print the total of every order, and what one sign pixel weighs in it."""
    print("\n2. The same pixels in another order (a sign pixel's weight: 1 in the micro mean)\n")
    print(f"   {'cross entropy':<38}{'total':>9}{'sign share':>12}{'weight':>9}   parts")
    logits, labels, mask = data
    found = {}
    for words, objective in reductions().items():
        ledger = found[words] = objective(logits, labels, mask=mask)[1]
        sign = ledger.by("class")[4]
        weight = 10_000 * sign.contribution / (sign.numerator or 1.0)
        kind = objective.exactness["cross_entropy"].kind
        line = f"{ledger.total:>9.4f}{sign.share or 0:>12.1%}{weight:>9.2f}   {kind}"
        print(f"   {words:<38}{line}")
    return found


def show_dice(data: tuple[Tensor, Tensor, Tensor]) -> dict[str, float]:
    """Print the Dice loss by what it sums over before it divides."""
    print("\n3. Dice loss of the same pixels, soft, no smoothing\n")
    print(f"   {'sums over':<46}{'cells':>7}{'total':>9}{'sign share':>12}")
    logits, labels, mask = data
    dice = partial(ll.losses.Dice, kind="softmax", smooth=0.0)
    groups = {
        "everything: one Dice": dice("batch height width class"),
        "the batch: one per class": dice("batch height width"),
        "an image: per image and class present": dice("height width", empty="skip"),
        "an image: per image and class, absent too": dice("height width"),
    }
    found = {}
    for words, loss in groups.items():
        objective = ll.Objective(ll.Term("pixels", loss, axes=AXES, classes=CLASSES))
        ledger = objective(logits, labels, mask=mask)[1]
        cells = objective.values(logits, labels, mask=mask)["dice"]
        share = ledger.by("class")[4].share or 0
        found[words] = ledger.total
        print(f"   {words:<46}{cells.numel():>7}{ledger.total:>9.4f}{share:>12.1%}")
    return found


def long_tail(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return digits in five groups, 600 to 10 to train on by the same shares, and the rest."""
    bunch = load_digits()
    groups = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 3, 4])[torch.tensor(bunch.target)]
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    wanted = [n // 10 for n in PIXELS]
    chosen = torch.cat([order[groups[order] == c][:n] for c, n in enumerate(wanted)])
    rest = torch.ones(len(groups), dtype=torch.bool)
    rest[chosen] = False
    images = torch.tensor(bunch.data / 16)
    return (images[chosen], groups[chosen]), (images[rest], groups[rest])


def learn(reduction: ll.Objective, seed: int) -> list[float]:
    """Train on a long tail; return the test recall of each class."""
    (x, y), (unseen, true) = long_tail(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        total = reduction.loss(model(x), y)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    with torch.no_grad():
        guess = model(unseen).argmax(1)
    return [float((guess[true == c] == c).double().mean()) for c in range(5)]


def show_learning() -> dict[str, list[float]]:
    """Print what four of the orders do to digits with a long tail."""
    print("\n4. Digits in five groups of 600, 200, 150, 40 and 10: 60 full-batch steps of Adam")
    print(f"   Test recall by group, mean of {len(SEEDS)} seeds\n")
    heads = "".join(f"{n:>8}" for n in (600, 200, 150, 40, 10))
    print(f"   {'cross entropy':<38}{heads}{'mean':>8}   smallest group, by seed")
    classes, loss = ll.Mean(by="class"), ll.losses.CrossEntropy()
    orders: dict[str, AbstractReduction | Chain] = {
        "micro": ll.Mean(),
        "macro": ll.Macro("class"),
        "tilted (t = 2) over classes": classes.then(ll.LogMeanExp(2.0)),
        "worst class": classes.then(ll.Max()),
    }
    found = {}
    for words, order in orders.items():
        objective = ll.Objective(
            ll.Term("group", loss, axes="batch class", classes=5, reduction=order)
        )
        runs = [learn(objective, seed) for seed in SEEDS]
        recall = found[words] = [fmean(column) for column in zip(*runs, strict=True)]
        line = "".join(f"{r:>8.3f}" for r in [*recall, fmean(recall)])
        print(f"   {words:<38}{line}   " + " ".join(f"{run[4]:.3f}" for run in runs))
    return found


def main() -> None:
    """Run the four experiments and answer."""
    torch.set_num_threads(1)  # arrays this small are faster on one
    data = images()
    micro = reductions()["micro: every pixel alike"](data[0], data[1], mask=data[2])[1]
    show_classes(micro)
    orders = {words: ledger.total for words, ledger in show_orders(data).items()}
    dice = list(show_dice(data).values())
    learned = show_learning()
    hidden = micro.overlooked()[0]
    _, images_first, macro, both, tilted, worst, _, _ = orders.values()
    plain, even, one = (learned[n][4] for n in ("micro", "macro", "worst class"))
    print(f"""
Answer
   A mean over everything weighs classes by their pixels: the total is {micro.total:.3f} while a
   pixel of {hidden.cls} costs {hidden.own_mean:.2f}, at an IoU of {hidden.iou:.2f}. Its share shows
   it ({hidden.share:.1%} of the loss from 1 % of the pixels), and so does overlooked().
   Each mean that is taken apart gives its cells equal say: images first {images_first:.3f}, classes
   first {macro:.3f} (a sign pixel weighs 20 times as much), classes within images {both:.3f}. The
   maximum over classes is {worst:.2f}, and a tilted mean ({tilted:.2f}) lies between it and macro.
   The worst pixels are not the rare class: most of them belong to large ones.
   Dice has an order too: over everything {dice[0]:.3f}, per class {dice[1]:.3f}, per image and
   class {dice[2]:.3f}. Three images have no sign; counting them gives {dice[3]:.3f}, and no
   training can lower their part.
   On digits the micro mean finds {plain:.1%} of the smallest group, the macro mean {even:.1%}, the
   worst class {one:.1%}: it follows one class a step and leaves the others.""")


if __name__ == "__main__":
    main()
