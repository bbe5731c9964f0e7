# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong right now: each problem said once, repeated seldom, and shown in diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

REPEAT_S = 10.0
# Different sentences of one key within that time; more are numbers that change, not news.
MAX_SENTENCES = 8


class Problems:
    """Problems of a node by key; the log hears of each when it is new, then every ten seconds."""

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._sentences: dict[str, str] = {}
        self._said: dict[str, dict[str, float]] = {}
        self._unsaid: dict[str, int] = {}

    def report(self, key: str, sentence: str) -> None:
        """Note a problem; an older one of the same key is replaced."""
        now = self._clock()
        with self._lock:
            self._sentences[key] = sentence
            recent = {
                said: since
                for said, since in self._said.get(key, {}).items()
                if now - since < REPEAT_S
            }
            self._said[key] = recent
            if sentence in recent or len(recent) >= MAX_SENTENCES:
                self._unsaid[key] = self._unsaid.get(key, 0) + 1
                return
            recent[sentence] = now
            unsaid = self._unsaid.pop(key, 0)
        suffix = f" ({unsaid} more like this)" if unsaid else ""
        self._logger.warning(f"{sentence}{suffix}")

    def clear(self, key: str) -> None:
        """Note that a problem is gone."""
        with self._lock:
            self._sentences.pop(key, None)

    def clear_all(self) -> None:
        """Forget what is wrong, and when it was said."""
        with self._lock:
            for known in (self._sentences, self._said, self._unsaid):
                known.clear()

    def sentences(self) -> dict[str, str]:
        """Return the present problems."""
        with self._lock:
            return dict(self._sentences)
