# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM, from the first moment of a process on: imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

EXIT_INTERRUPTED = 130  # of what has not done its work then


def leave_quietly_while_importing(code: int = 0) -> None:
    """Let SIGINT and SIGTERM end a process that has not started its node yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))


@contextlib.contextmanager
def signals_set(event: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set an event, however often they come."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: event.set()) for number in numbers]
    yield
    # After a signal the process ends: Python would take a second one by its default, deadly way.
    after = [signal.SIG_IGN, signal.SIG_IGN] if event.is_set() else before
    for number, handler in zip(numbers, after, strict=True):
        signal.signal(number, handler)
