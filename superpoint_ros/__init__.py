# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SuperPoint features and visual odometry for ROS 2."""

from pkgutil import extend_path

# superpoint_ros.msg is generated: it lives beside the installed copy of this package, also when
# this file is imported from a source tree that comes earlier on sys.path.
__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
