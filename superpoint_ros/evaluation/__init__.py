# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good it is, in numbers and pictures."""
