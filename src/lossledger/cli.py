# SPDX-License-Identifier: Apache-2.0
"""The command line. Exit status: 0 fine, 1 findings, 2 usage."""

import argparse
import json
import sys

from lossledger import __version__
from lossledger._errors import LossLedgerError
from lossledger._typing import Sequence


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
    return parser


def _demo(options: argparse.Namespace) -> int:
    from lossledger.demo import main as run  # noqa: PLC0415 - needs the demo extra

    return run(options)


def _migrate(options: argparse.Namespace) -> int:
    from lossledger.presets.migration import migrate  # noqa: PLC0415 - loads all presets

    found = migrate(options.loss, options.to)
    print(json.dumps(found.to_dict(), indent=2) if options.json else found)
    return 0 if found.equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
