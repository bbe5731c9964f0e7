# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure odometry on a recording, or features on image pairs.

`superpoint evaluate KIND --help` tells all about one kind.
"""

# Every kind is a file of its own, `cli/evaluate_<kind>.py`, with a docstring,
# `add_arguments(parser)` and `run(args)`.

from __future__ import annotations

import argparse
import ast
import importlib
from pathlib import Path

_PREFIX = "evaluate_"


def find_kinds(folder: Path | None = None) -> dict[str, str]:
    """Return kind -> docstring of the files beside this one, importing nothing."""
    folder = folder or Path(__file__).resolve().parent
    kinds = {}
    for path in sorted(folder.glob(f"{_PREFIX}*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kinds[path.stem.removeprefix(_PREFIX)] = ast.get_docstring(tree) or ""
    return kinds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one subcommand per kind."""
    kinds = parser.add_subparsers(metavar="KIND", dest="kind", required=True)
    for kind, docstring in find_kinds().items():
        summary = docstring.strip().partition("\n")[0].rstrip(".")
        module = importlib.import_module(f"superpoint_ros.cli.{_PREFIX}{kind}")
        subparser = kinds.add_parser(
            kind,
            help=summary.replace("%", "%%"),
            description=docstring,  # only `help` is formatted
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)


def run(args: argparse.Namespace) -> int:
    """Run the chosen kind."""
    module = importlib.import_module(f"superpoint_ros.cli.{_PREFIX}{args.kind}")
    return int(module.run(args))
