# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong right now: each problem said once, repeated seldom, and shown in diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

REPEAT_S = 10.0


class Problems:
    """Problems of a node by key; the log hears of each when it is new, then every ten seconds."""

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._sentences: dict[str, str] = {}
        self._said: dict[str, tuple[str, float]] = {}
        self._counts: dict[str, int] = {}

    def report(self, key: str, sentence: str) -> None:
        """Note a problem; an older one of the same key is replaced."""
        now = self._clock()
        with self._lock:
            self._sentences[key] = sentence
            self._counts[key] = self._counts.get(key, 0) + 1
            last, since = self._said.get(key, ("", -REPEAT_S))
            is_due = now - since >= REPEAT_S or (sentence != last and now - since >= 1.0)
            if not is_due:
                return
            self._said[key] = (sentence, now)
            count, self._counts[key] = self._counts[key], 0
        suffix = f" ({count} times)" if count > 1 else ""
        self._logger.warning(f"{sentence}{suffix}")

    def clear(self, key: str) -> None:
        """Note that a problem is gone."""
        with self._lock:
            if self._sentences.pop(key, None) is not None:
                self._counts.pop(key, None)

    def sentences(self) -> dict[str, str]:
        """Return the present problems."""
        with self._lock:
            return dict(self._sentences)
