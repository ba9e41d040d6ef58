# SPDX-License-Identifier: Apache-2.0
"""The command line. Exit status: 0 fine, 1 findings, 2 usage."""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from lossledger import __version__
from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Sequence

_TARGET = "module:name, file.py:name, or a preset such as 'torch.MSELoss()'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except LossLedgerError as error:
        print(f"lossledger: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lossledger", description="Every number in a training loss, accounted for."
    )
    parser.add_argument("--version", action="version", version=f"lossledger {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="train a small U-Net on scanned digits and show where its loss comes from"
    )
    demo.add_argument("--out", default="demo-output", help="folder for plots (%(default)s)")
    demo.add_argument("--json", metavar="FILE", help="write all numbers; - for standard output")
    demo.add_argument("--seeds", type=int, default=3, help="number of seeds (%(default)s)")
    demo.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    demo.set_defaults(run=_demo)
    migrate = commands.add_parser("migrate", help="say what another library has for a loss")
    migrate.add_argument("loss", help="e.g. 'torch.CrossEntropyLoss(weight=[1, 2, 5])'")
    migrate.add_argument("--to", required=True, metavar="LIBRARY", help="e.g. keras")
    migrate.add_argument("--json", action="store_true", help="write JSON")
    migrate.set_defaults(run=_migrate)
    explain = commands.add_parser("explain", help="say how a loss makes its number")
    explain.add_argument("target", help=_TARGET)
    _add_data(explain)
    explain.set_defaults(run=_explain)
    compare = commands.add_parser("compare", help="say where two losses part")
    compare.add_argument("first", help=_TARGET)
    compare.add_argument("second", help="likewise")
    compare.add_argument(
        "--convention", metavar="NAME[,NAME]", help="versions of Keras, e.g. keras3,keras2.3"
    )
    _add_data(compare)
    compare.set_defaults(run=_compare)
    _add_scale(commands.add_parser("scale", help="convert settings: sum or mean, batch size"))
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    """Add where data come from and where the answer goes; without data a batch is drawn."""
    parser.add_argument("--outputs", metavar="FILE.npy", help="what the network gave")
    parser.add_argument("--targets", metavar="FILE.npy", help="what it should have given")
    parser.add_argument(
        "--data",
        metavar="MODULE:NAME",
        help="(outputs, targets), or a function; x and y of a model",
    )
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page")


def _add_scale(scale: argparse.ArgumentParser) -> None:
    """Add the options of `scale`; what is left out takes the library's default."""
    scale.add_argument("--optimizer", required=True, metavar="NAME", help="e.g. adamw")
    scale.add_argument("--lr", required=True, type=float, help="learning rate")
    scale.add_argument("--library", default="torch", help="torch, optax or keras (%(default)s)")
    scale.add_argument("--from", dest="from_", default="mean", help="sum or mean (%(default)s)")
    scale.add_argument("--to", help="sum or mean (as before)")
    scale.add_argument("--batch", required=True, type=float, help="what the mean divides by")
    scale.add_argument("--to-batch", type=float, help="the same for another batch size")
    scale.add_argument("--rule", help="linear or sqrt, for another batch size (the optimizer's)")
    for name, text in (
        ("momentum", "of SGD or RMSprop"),
        ("dampening", "of torch's SGD"),
        ("alpha", "decay rate of RMSprop"),
        ("eps", "beside the root of the squared gradients"),
        ("weight-decay", "of the optimizer"),
        ("l2", "factor of a penalty in the loss"),
        ("clip-norm", "largest norm of the gradient"),
        ("clip-value", "largest gradient of a parameter"),
        ("initial-accumulator", "where Adagrad's sum starts"),
    ):
        scale.add_argument(f"--{name}", type=float, help=text, default=argparse.SUPPRESS)
    scale.add_argument("--betas", type=float, nargs=2, default=argparse.SUPPRESS, help="of Adam")
    for name in ("nesterov", "centered", "amsgrad"):
        scale.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS)
    scale.add_argument(
        "--decoupled",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="weight decay beside the gradient, not in it",
    )
    scale.add_argument("--json", action="store_true", help="write JSON")
    scale.set_defaults(run=_scale)


def _demo(options: argparse.Namespace) -> int:
    from lossledger.demo import main as run  # noqa: PLC0415 - needs the demo extra

    return run(options)


def _migrate(options: argparse.Namespace) -> int:
    from lossledger.presets.migration import migrate  # noqa: PLC0415 - loads all presets

    found = migrate(options.loss, options.to)
    print(json.dumps(found.to_dict(), indent=2) if options.json else found)
    return 0 if found.equal else 1


def _explain(options: argparse.Namespace) -> int:
    from lossledger.explanation import command  # noqa: PLC0415 - loads all presets

    found = command.explained(options.target, options.outputs, options.targets, options.data)
    _shown(found, options)
    return 1 if command.has_findings(found) else 0


def _compare(options: argparse.Namespace) -> int:
    from lossledger.explanation import command  # noqa: PLC0415 - loads all presets

    names = options.first, options.second
    data = options.outputs, options.targets, options.data
    found = command.compared(*names, *data, options.convention)
    _shown(found, options)
    return 0 if found.equal else 1


def _shown(found: Any, options: argparse.Namespace) -> None:
    """Write an answer as text or JSON, and as a page if one is asked for."""
    from lossledger.explanation.command import page  # noqa: PLC0415 - loads all presets

    if options.html is not None:
        text = page(options.command, found.sections())
        try:
            Path(options.html).write_text(text, encoding="utf-8")
        except OSError as error:
            raise MatchError(
                "--html must name a file that can be written",
                f"Found {type(error).__name__}: {error}",
                "The folder does not exist, or is not yours",
                "Name a file in a folder that exists",
            ) from error
    print(json.dumps(found.to_dict(), indent=2, default=str) if options.json else found)


def _scale(options: argparse.Namespace) -> int:
    from lossledger.scaling import Settings, convert  # noqa: PLC0415 - loaded on first use

    given = vars(options)
    settings = {f.name: given[f.name] for f in fields(Settings) if f.name in given}
    if "betas" in settings:
        settings["betas"] = tuple(settings["betas"])
    sizes = {name: given[name] for name in ("from_", "to", "batch", "to_batch", "rule")}
    found = convert(Settings(**settings), **sizes)
    if options.json:
        print(json.dumps(found.to_dict() | {"snippet": found.snippet()}, indent=2))
    else:
        print(f"{found}\n\n{found.snippet()}", end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
