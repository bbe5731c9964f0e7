# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""pip's way in: the modules, and the messages where there is a ROS 2 to build them against.

The messages are built by the package's own CMakeLists.txt against the ROS 2 wheels in this
Python's prefix or against the ROS 2 that is sourced; what CMake installs is packed. colcon does
not read this file: package.xml says ament_cmake.

With SUPERPOINT_ROS_TREE=1 (`make` sets it) only the messages are installed, and a .pth file puts
this source tree on sys.path: there is no second copy of the modules that could be stale.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

TREE = Path(__file__).resolve().parent
ONLY_MESSAGES = os.environ.get("SUPERPOINT_ROS_TREE") == "1"
SOURCED = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
PREFIXES = list(dict.fromkeys([sys.prefix, *SOURCED]))
SHARED = ("share/superpoint_ros/", "share/ament_index/", "lib/")


class Build(build_py):
    def run(self):
        if getattr(self, "editable_mode", False):
            raise SystemExit(
                "superpoint_ros: no editable install, the messages are compiled: use `make env`, "
                "which runs from this tree, or `pip install .`"
            )
        build_lib = Path(self.build_lib)
        shutil.rmtree(build_lib, ignore_errors=True)  # of the last build, maybe of the other kind
        if ONLY_MESSAGES:
            build_lib.mkdir(parents=True)
            # The package directory made below has no __init__.py, so this tree's package wins.
            (build_lib / "superpoint_ros_tree.pth").write_text(f"{TREE}\n", encoding="utf-8")
        else:
            super().run()
        if any((Path(p) / "share/ament_cmake/cmake").is_dir() for p in PREFIXES):
            self.pack_messages(self.build_messages())
        else:
            print(
                "superpoint_ros: no ROS 2 here, so no messages and no nodes: "
                "install or source ROS 2 and run pip install again",
                file=sys.stderr,
            )

    def build_messages(self) -> Path:
        """Run CMake into a staging prefix and return that."""
        work = Path(self.get_finalized_command("build").build_temp).resolve() / "cmake"
        stage = work / "prefix"
        shutil.rmtree(work, ignore_errors=True)
        # pip's build isolation hides the environment's packages (em, catkin_pkg, lark) through
        # PYTHONPATH; rosidl's generators need them.
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        kept = os.pathsep.join(path for path in paths if path and "pip-build-env" not in path)
        env = {**os.environ, "PYTHONPATH": kept}
        if not kept:
            del env["PYTHONPATH"]
        env["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), env.get("PATH", "")])
        env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = os.pathsep.join(PREFIXES)
        cmake = shutil.which("cmake", path=env["PATH"])
        if not cmake:
            raise SystemExit("superpoint_ros: cmake is missing: pip install cmake ninja")
        ninja = ["-GNinja"] if shutil.which("ninja", path=env["PATH"]) else []
        configure = [
            *(cmake, "-S", str(TREE), "-B", str(work / "build"), *ninja),
            *("-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"),
            *(f"-DCMAKE_INSTALL_PREFIX={stage}", f"-DPython3_EXECUTABLE={sys.executable}"),
        ]
        build = [cmake, "--build", str(work / "build"), "--target", "install", "--parallel"]
        for command in (configure, build):
            subprocess.check_call(command, env=env)
        return stage

    def pack_messages(self, stage: Path) -> None:
        """Put what rosidl generated into the package, the libraries and shares into the prefix."""
        generated = next(stage.glob("**/superpoint_ros/msg/__init__.py")).parents[1]
        target = Path(self.build_lib) / "superpoint_ros"
        for file in sorted(generated.rglob("*")):
            is_interface = file.suffix == ".py" and file.parent.name in ("msg", "srv", "action")
            if file.suffix == ".so" or is_interface:
                copy = target / file.relative_to(generated)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
        data_files = {}
        for file in sorted(stage.rglob("*")):
            name = file.relative_to(stage).as_posix()
            is_module = generated in file.parents or ".egg-info" in name or file.suffix == ".pyc"
            if file.is_file() and not is_module and name.startswith(SHARED):
                data_files.setdefault(str(Path(name).parent), []).append(str(file))
        self.distribution.data_files = sorted(data_files.items())


class BinaryDistribution(Distribution):
    """The wheel holds compiled messages, whatever setuptools sees."""

    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": Build}, distclass=BinaryDistribution)
