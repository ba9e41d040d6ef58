# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a script beside the pages that it helps to make
"""The command line that the scripts beside this file share: print a page, or write it."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def run(page: Callable[[], str], place: Path) -> None:
    """Print a page, or write it under --write.

    Args:
        page: Returns the whole page.
        place: Where it belongs.
    """
    shown = f"{place.parent.name}/{place.name}"
    parser = argparse.ArgumentParser(description=f"Print the page {shown}.")
    parser.add_argument("--write", action="store_true", help="write it to its place instead")
    if parser.parse_args().write:
        place.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
