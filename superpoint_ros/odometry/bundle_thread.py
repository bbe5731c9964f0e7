# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bundle adjustment beside tracking: one window at a time in a thread of its own."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor

from superpoint_ros.geometry.bundle_adjustment import BundleResult, adjust_bundle
from superpoint_ros.odometry.local_map import BundleWindow

_LOG = logging.getLogger(__name__)


class BundleThread:
    """Adjusts the window that was handed over last.

    The answer is taken when the caller asks for it, and then waited for: what the odometry says
    depends on its input alone, not on how fast the thread was.
    """

    def __init__(self, pixel_sigma: float, max_iterations: int) -> None:
        self._settings = (pixel_sigma, max_iterations)
        self._executor: ThreadPoolExecutor | None = None
        self._window: BundleWindow | None = None
        self._future: Future[BundleResult | None] | None = None

    def start(self, window: BundleWindow) -> None:
        """Hand a window over; an answer that nobody took is dropped."""
        self.drop()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "bundle")
        self._window = window
        self._future = self._executor.submit(adjust_bundle, window.problem, *self._settings)

    def take(self) -> tuple[BundleWindow, BundleResult] | None:
        """Wait for the window that is out; None if there is none, or if it could not be solved."""
        window, future = self._window, self._future
        self._window = self._future = None
        if window is None or future is None:
            return None
        try:
            result = future.result()
        except Exception:  # a bug there must not end the odometry: it goes on with the map it has
            _LOG.exception("bundle adjustment failed; the odometry goes on without it")
            return None
        return None if result is None else (window, result)

    def drop(self) -> None:
        """Forget the window that is out."""
        if self._future is not None:
            self._future.cancel()
        self._window = self._future = None

    def close(self) -> None:
        """End the thread; a window that it has in hand is finished, but not waited for."""
        self.drop()
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None
