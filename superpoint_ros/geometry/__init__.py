# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Poses, cameras and robust estimation in NumPy float64."""
