# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command: starts fast, helps, and answers a user's mistake with one line and exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from superpoint_ros import __version__
from superpoint_ros.cli import main as cli
from superpoint_ros.cli.evaluate import find_kinds
from superpoint_ros.config import ConfigError

HEAVY = ("torch", "cv2", "rclpy", "matplotlib")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of subcommands, found instead of the real one."""
    (tmp_path / "_helper.py").write_text('"""Not a command."""\n')
    (tmp_path / "good.py").write_text('"""Do good, 100 %.\n\nMore about it.\n"""\n')
    (tmp_path / "good_part.py").write_text('"""A part of good."""\n')
    monkeypatch.setattr(cli, "FOLDER", tmp_path)
    monkeypatch.setattr(cli.find_subcommands, "__defaults__", (tmp_path,))
    return tmp_path


def use_command(monkeypatch, run):
    """Let `superpoint good` run `run`."""

    class Module:
        @staticmethod
        def add_arguments(parser):
            parser.add_argument("--number", type=int, default=3)

    Module.run = staticmethod(run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: Module)


def test_help_lists_the_commands_and_imports_none(folder, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert "Do good, 100 %" in text
    assert "helper" not in text
    assert "part" not in text


def test_command_gets_its_arguments_and_gives_the_exit_code(folder, monkeypatch):
    use_command(monkeypatch, lambda args: args.number + 1)
    assert cli.main(["good", "--number", "6"]) == 7


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("keypoints.nms_radius: 1000 is above the maximum 64"), "nms_radius"),
        (FileNotFoundError(2, "No such file or directory", "a.bag"), "a.bag: No such file"),
        (ModuleNotFoundError("x", name="cv2.aruco"), "pip install opencv-python"),
        (ModuleNotFoundError("x", name="rclpy"), "source ROS 2"),
    ],
)
def test_mistake_of_the_user_is_one_line(folder, monkeypatch, capsys, error, line):
    def fail(args):
        raise error

    monkeypatch.delenv("SUPERPOINT_DEBUG", raising=False)
    use_command(monkeypatch, fail)
    assert cli.main(["good"]) == 2
    text = capsys.readouterr().err
    assert line in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("a"), ValueError("shapes differ")])
def test_bug_keeps_its_traceback(folder, monkeypatch, error):
    def fail(args):
        raise error

    use_command(monkeypatch, fail)
    with pytest.raises(type(error)):
        cli.main(["good"])


def test_ctrl_c_is_130(folder, monkeypatch):
    def interrupt(args):
        raise KeyboardInterrupt

    use_command(monkeypatch, interrupt)
    assert cli.main(["good"]) == 130


def test_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["fly"])
    assert exit_info.value.code == 2
    assert "fly" in capsys.readouterr().err


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys; from superpoint_ros.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print('heavy', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy []" in done.stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"superpoint_ros {__version__}\n"


def test_a_percent_sign_is_printed_as_it_is(folder, monkeypatch, capsys):
    use_command(monkeypatch, lambda args: 0)
    with pytest.raises(SystemExit):
        cli.main(["good", "--help"])
    assert "Do good, 100 %.\n" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], *([kind] for kind in find_kinds())])
def test_the_help_of_evaluate_is_for_users(argv, capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", *argv, "--help"])
    text = capsys.readouterr().out
    assert "%%" not in text
    assert "add_arguments" not in text


@pytest.mark.parametrize("name", cli.find_subcommands())
def test_every_command_has_a_help_that_says_what_it_does(name, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main([name, "--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert len(text.split()) > 20
    assert text.startswith(f"usage: superpoint {name}")


def test_results_that_cannot_be_written_are_said_before_the_work(folder, monkeypatch, capsys):
    class Module:
        @staticmethod
        def add_arguments(parser):
            parser.add_argument("--json", default="")

        @staticmethod
        def run(args):
            raise AssertionError("the work has begun")

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: Module)
    assert cli.main(["good", "--json", str(folder)]) == 2
    assert capsys.readouterr().err == f"superpoint: {folder}: is a folder: name a file\n"


@pytest.mark.parametrize(
    "words", [["train", "magicpoint"], ["finetune", "--images", "frames"]], ids=lambda w: w[0]
)
def test_a_device_that_does_not_exist_is_told_at_once(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--out", str(tmp_path / "out"), "--device", "gpu"]) == 2
    assert "device: 'gpu' is not auto, cpu, cuda or cuda:N" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
