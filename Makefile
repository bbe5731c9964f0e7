# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
# Everything in one environment, .venv, without a ROS install. `make help` lists the targets.

PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
OUT ?= out
BAG ?=
ARGS ?=
DEMO_BAG := ../shared/data/bags/tum_fr1_rpy_rgbd
# A Kinect: its depth comes in fifths of a millimetre there, its rows are read one after the other in
# a time that `superpoint calibrate` finds in this bag without its ground truth.
DEMO_ARGS := --depth-units-per-metre 5000 --param tracker_node:odometry.rolling_shutter.readout:=0.0265
PYTEST_ARGS ?=

ifneq ($(words $(CURDIR)),1)
$(error superpoint: make cannot work in a folder with a space in its path: rename or move $(CURDIR))
endif

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A ROS install that happens to be sourced must not mix with the wheels in .venv.
unexport PYTHONPATH PYTHONHOME CMAKE_PREFIX_PATH COLCON_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
ifdef ROS_DISTRO
unexport LD_LIBRARY_PATH ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION
endif
export AMENT_PREFIX_PATH := $(VENV)
export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

REQUIREMENTS := $(addprefix requirements/,runtime.txt training.txt development.txt ros-jazzy.txt)
INTERFACES := $(wildcard msg/*.msg srv/*.srv)
MESSAGE_SOURCES := $(INTERFACES) requirements/ros-jazzy.txt CMakeLists.txt package.xml setup.py setup.cfg \
	$(wildcard cmake/*.cmake) $(shell find vendor -type f)
PACKAGES_STAMP := $(VENV)/.packages
MESSAGES_STAMP := $(VENV)/.messages

say = @echo "superpoint: $(1)"

.PHONY: help env msgs demo test lint docs colcon colcon-test clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

env: $(MESSAGES_STAMP)  ## make the environment in .venv: pinned packages and our messages

msgs: $(MESSAGES_STAMP)  ## build the messages into .venv (again only when they changed)

demo: $(MESSAGES_STAMP)  ## play a bag through both nodes over DDS; out/report.html (BAG=path ARGS="...": any bag)
ifneq ($(BAG),)
	$(call say,replaying $(BAG); results go to $(OUT)/)
	@superpoint replay "$(BAG)" --out "$(OUT)" $(ARGS)
else ifneq ($(wildcard $(DEMO_BAG)),)
	$(call say,replaying $(DEMO_BAG); results go to $(OUT)/)
	@superpoint replay "$(DEMO_BAG)" $(DEMO_ARGS) --out "$(OUT)" $(ARGS)
else
	$(call say,rendering a sequence and replaying it; results go to $(OUT)/)
	@superpoint replay --out "$(OUT)" $(ARGS)
endif

lint: $(PACKAGES_STAMP)  ## formatting, spelling, types and import contracts
	$(call say,ruff and codespell)
	@ruff check --quiet .
	@ruff format --check --quiet . || { ruff format --check . | head -20; exit 1; }
	@codespell
	$(call say,mypy)
	@mypy --no-error-summary
	$(call say,import contracts)
	@contracts=$$(lint-imports) || { echo "$$contracts"; exit 1; }

test: $(MESSAGES_STAMP) lint  ## lint, types, import contracts and pytest (PYTEST_ARGS="-k ...")
	$(call say,pytest)
	@python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

docs: $(MESSAGES_STAMP)  ## write the tables of docs/ anew from the code
	$(call say,writing docs/)
	@python -m superpoint_ros.ros.documentation docs

colcon: $(MESSAGES_STAMP)  ## colcon build in this environment, as a robot would
	$(call say,colcon build)
	@colcon build --symlink-install --event-handlers console_cohesion- --cmake-args \
		-DPython3_EXECUTABLE=$(BIN)/python -DBUILD_TESTING=ON

colcon-test: colcon  ## colcon test in this environment
	$(call say,colcon test)
	@colcon test --event-handlers console_cohesion+ --return-code-on-test-failure

clean:  ## remove what was built and written, but not .venv
	rm -rf build install log $(OUT) *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean  ## remove .venv too
	rm -rf .venv

$(PACKAGES_STAMP): $(REQUIREMENTS) requirements/constraints.txt
	@$(PYTHON) requirements/check_machine.py
	@test -x $(BIN)/python || { echo "superpoint: making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	$(call say,installing the pinned packages into .venv; the first time this takes some minutes)
	@$(BIN)/python -m pip install --quiet $(addprefix -r ,$(REQUIREMENTS)) -c requirements/constraints.txt \
		> $(VENV)/pip.log 2>&1 || { grep -v '^WARNING' $(VENV)/pip.log | tail -15; \
		echo "superpoint: pip could not install the packages: is the network there? (whole log: .venv/pip.log)"; exit 1; }
	@touch $@

$(MESSAGES_STAMP): $(MESSAGE_SOURCES) | $(PACKAGES_STAMP)
	$(call say,building $(words $(INTERFACES)) messages and tf2_msgs into .venv)
	@{ SUPERPOINT_ROS_TREE=1 python -m pip install --no-deps --no-build-isolation --force-reinstall . && \
		cmake -S vendor/tf2_msgs -B build/tf2_msgs -GNinja -DCMAKE_INSTALL_PREFIX=$(VENV) -DCMAKE_BUILD_TYPE=Release \
			-DCMAKE_PREFIX_PATH=$(VENV) -DPython3_EXECUTABLE=$(BIN)/python -DBUILD_TESTING=OFF && \
		cmake --build build/tf2_msgs --target install; } > $(VENV)/messages.log 2>&1 || { tail -30 $(VENV)/messages.log; \
		echo "superpoint: the messages do not build (whole log: .venv/messages.log)"; exit 1; }
	@touch $@
