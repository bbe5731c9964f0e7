# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a long piece of work is."""

from __future__ import annotations

import sys
import time

from superpoint_ros.training.distributed import process_rank


class Progress:
    """Steps, losses and the time left: a bar on a terminal, a line a minute elsewhere."""

    def __init__(self, name: str, total: int, done: int = 0):
        self._name, self._total, self._first = name, total, done
        self._started = time.monotonic()
        self._shown = 0.0

    def show(self, done: int, values: dict[str, float] | None = None) -> None:
        """Show that `done` units of all are finished."""
        if process_rank() != 0:
            return
        now = time.monotonic()
        is_terminal = sys.stderr.isatty()
        is_last = done >= self._total
        if not is_last and now - self._shown < (0.2 if is_terminal else 60.0):
            return
        self._shown = now
        rate = (done - self._first) / max(now - self._started, 1e-6)
        left = (self._total - done) / max(rate, 1e-6)
        text = ", ".join(f"{name} {value:.4f}" for name, value in (values or {}).items())
        line = (
            f"{self._name}: {done}/{self._total} ({done / self._total:.0%}), {rate:.2f}/s, "
            f"{left / 60:.0f} min left, {text}"
        )
        end = "\n" if is_last or not is_terminal else ""
        print(f"\r{line:<100}" if is_terminal else line, end=end, file=sys.stderr, flush=True)
