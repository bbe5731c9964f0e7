# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The `superpoint` command: finds its subcommands, imports the one that is asked for, runs it.

Every other file of this folder is one subcommand: its docstring is the help text, and it has
`add_arguments(parser)` and `run(args) -> int`. The docstrings are read without importing, so
`superpoint --help` starts at once, however heavy the commands are.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from superpoint_ros import __version__
from superpoint_ros.machine import prepare_process

FOLDER = Path(__file__).resolve().parent
EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141

# What to install for a module that a subcommand may lack.
_PIP_NAMES = {"cv2": "opencv-python", "yaml": "PyYAML"}
_ROS_MODULES = ("rclpy", "superpoint_ros.msg", "superpoint_ros.srv")


def find_subcommands(folder: Path = FOLDER) -> dict[str, str]:
    """Return subcommand name -> docstring, in alphabetical order, importing nothing."""
    docstrings: dict[str, str] = {}
    for path in sorted(folder.glob("*.py")):
        parent = path.stem.partition("_")[0]  # evaluate_homography.py is a part of evaluate.py
        if path.stem != "main" and not path.stem.startswith("_") and parent not in docstrings:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstrings[path.stem.replace("_", "-")] = ast.get_docstring(tree) or ""
    return docstrings


def make_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; only the subcommand named in `argv` is imported and adds its arguments."""
    parser = argparse.ArgumentParser(
        prog="superpoint",
        description="SuperPoint features and visual odometry for ROS 2.",
        epilog="`superpoint COMMAND --help` tells all about one. SUPERPOINT_DEBUG=1 shows where "
        "an error came from.",
    )
    parser.add_argument("--version", action="version", version=f"superpoint_ros {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    wanted = next((word for word in argv if not word.startswith("-")), "")
    for name, docstring in find_subcommands().items():
        summary = docstring.strip().partition("\n")[0].rstrip(".")
        subparser = commands.add_parser(
            name,
            help=summary.replace("%", "%%"),
            description=docstring,  # only `help` is formatted
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == wanted:
            module = importlib.import_module(f"superpoint_ros.cli.{name.replace('-', '_')}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def is_user_error(error: BaseException) -> bool:
    """Whether an exception tells the user about their own input, so that no traceback helps.

    These are the errors this package defines (ConfigError, WeightsError, ...) and those of the
    operating system (no such file, no space); a plain ValueError or a KeyError is a bug.
    """
    return isinstance(error, OSError) or type(error).__module__.startswith("superpoint_ros.")


def _explain_missing_module(error: ModuleNotFoundError) -> str | None:
    """Return how to get the module that is missing; None if it is one of our own."""
    name = error.name or ""
    if name.startswith(_ROS_MODULES):
        return (
            f"{name} is not there: source ROS 2 and the workspace this package was built in, "
            "or use `make env` (docs/install.md)"
        )
    if not name or name.startswith("superpoint_ros"):
        return None
    package = name.partition(".")[0]
    return f"{package} is not installed: pip install {_PIP_NAMES.get(package, package)}"


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out before the work whether its results can be written."""
    paths = [getattr(args, name, "") for name in ("json", "rrd")]
    if any(paths):
        from superpoint_ros.files import check_file

        for path in filter(None, paths):
            check_file(path)


def _fail(message: str) -> int:
    print(f"superpoint: {message}", file=sys.stderr)
    return EXIT_USER_ERROR


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 success, 2 a mistake of the user."""
    argv = list(sys.argv[1:] if argv is None else argv)
    prepare_process()  # nothing has imported NumPy yet
    try:
        args = make_parser(argv).parse_args(argv)
        _check_outputs(args)
        return int(args.run(args))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `superpoint ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except ModuleNotFoundError as error:
        message = _explain_missing_module(error)
        if message is None or os.environ.get("SUPERPOINT_DEBUG"):
            raise
        return _fail(message)
    except Exception as error:
        if not is_user_error(error) or os.environ.get("SUPERPOINT_DEBUG"):
            raise
        return _fail(describe_error(error))


def describe_error(error: Exception) -> str:
    """Return one line about a mistake of the user."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
