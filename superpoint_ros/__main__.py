# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m superpoint_ros` is the `superpoint` command."""

import sys

from superpoint_ros.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
