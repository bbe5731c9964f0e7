# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every node shares: start, stop, exit codes, its worker thread, its life cycle.

A user's own mistake (a parameter, a missing file) ends the process with one line and exit code 1;
SIGINT and SIGTERM end it with 0, also twice, also during start and inference.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Generic, TypeVar

import rclpy
from lifecycle_msgs.msg import State
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    InvalidTopicNameException,
)
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from superpoint_ros.config import Config, ConfigError
from superpoint_ros.ros.diagnostics import Counters
from superpoint_ros.ros.log import REPEAT_S, Problems
from superpoint_ros.ros.parameters import NodeParameters, rewrite_rcl_error
from superpoint_ros.ros.signals import signals_set

DEFAULT_NAMESPACE = "superpoint"
EXIT_USER_ERROR = 2  # of tools
FAILURE = "failure"  # key of the problem that is a bug, or a device out of memory
# A worker that is in the middle of a frame gets this long to finish it after SIGINT.
_JOIN_TIMEOUT_S = 1.0
_SPIN_PERIOD_S = 0.1

# What a user can cause and mend; anything else is a bug and shows its traceback.
USER_ERRORS = (
    ConfigError,
    OSError,
    ImportError,
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    InvalidTopicNameException,
)

JobT = TypeVar("JobT")
ConfigT = TypeVar("ConfigT", bound=Config)
ThingT = TypeVar("ThingT")


class Worker(Generic[JobT]):
    """One thread that takes jobs in order; when too many wait, the oldest is dropped.

    Args:
        work: Does one job.
        capacity: Jobs that may wait.
        logger: Hears of what `work` raises, with its traceback.
        on_failure: Called with it.
    """

    def __init__(
        self,
        work: Callable[[JobT], None],
        capacity: int,
        logger: Any,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._work = work
        self._on_failure = on_failure
        self._jobs: deque[JobT] = deque()
        self._capacity = capacity
        self._logger = logger
        self._condition = threading.Condition()
        self._is_stopping = False
        self._is_busy = False
        self._last_trace = ("", 0.0)
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """How many jobs are not done, the one in hand included."""
        with self._condition:
            return len(self._jobs) + self._is_busy

    def put(self, job: JobT) -> int:
        """Add a job; return how many older ones had to go for it (0 or 1)."""
        with self._condition:
            is_full = len(self._jobs) >= self._capacity
            if is_full:
                self._jobs.popleft()
            self._jobs.append(job)
            self._condition.notify()
        return int(is_full)

    def clear(self) -> int:
        """Drop all waiting jobs; return how many."""
        with self._condition:
            count = len(self._jobs)
            self._jobs.clear()
        return count

    def stop(self, timeout_s: float = _JOIN_TIMEOUT_S) -> bool:
        """End the thread after the job in hand; return whether it ended in time."""
        with self._condition:
            self._is_stopping = True
            self._jobs.clear()
            self._condition.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._is_busy = False
                self._condition.wait_for(lambda: self._jobs or self._is_stopping)
                if self._is_stopping:
                    return
                job = self._jobs.popleft()
                self._is_busy = True
            try:
                self._work(job)
            except Exception as error:
                # The rim: a bug on one frame must not end a robot's odometry in silence.
                if not self._is_stopping:
                    self._say(traceback.format_exc())
                    self._on_failure(error)

    def _say(self, trace: str) -> None:
        """Log a bug, the same one at most every ten seconds."""
        last, since = self._last_trace
        if trace != last or time.monotonic() - since > REPEAT_S:
            self._last_trace = (trace, time.monotonic())
            self._logger.error(f"frame failed:\n{trace}")


class ManagedNode(LifecycleNode, Generic[ConfigT]):  # type: ignore[misc]
    """A life-cycle node that can also start by itself, with a config as its parameters.

    Subclasses implement `set_up`, `tear_down` and `stop_work`, and ask `is_active`. What `set_up`
    opens goes through `own`, so that it is closed also if the next step fails.

    Attributes:
        counters: Of the frames; subclasses make it.
    """

    counters: Counters

    def __init__(
        self,
        name: str,
        config_type: type[ConfigT],
        known_elsewhere: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        """Declare the parameters.

        Raises:
            ConfigError: A parameter of unknown name, wrong type or out of range.
        """
        kwargs.setdefault("namespace", DEFAULT_NAMESPACE)
        try:
            super().__init__(name, automatically_declare_parameters_from_overrides=True, **kwargs)
        except ValueError as error:
            if "NOT_SET" not in str(error):
                raise
            overrides = getattr(self, "_parameter_overrides", {}).values()
            untyped = [p.name for p in overrides if p.type_ == Parameter.Type.NOT_SET]
            raise ConfigError(
                f"{name}: parameter {', '.join(untyped)}: an empty list [] in a parameter file "
                "has no type in ROS: leave the line out"
            ) from None
        try:
            self.parameters = NodeParameters(self, config_type, self.on_config, known_elsewhere)
        except ConfigError as error:
            self.destroy_node()
            raise ConfigError(f"{name}: parameter {error}") from None
        self.problems = Problems(self.get_logger())
        self.is_active = False
        self.active_since = time.monotonic()
        self._owned = contextlib.ExitStack()
        self._failure: BaseException | None = None
        self._is_starting = False
        service = getattr(self, "_service_change_state", None)
        if service is not None:
            service.callback = functools.partial(self._answer_change_state, service.callback)

    @property
    def config(self) -> ConfigT:
        """The present settings."""
        return self.parameters.config

    # For subclasses

    def set_up(self) -> None:
        """Make publishers, subscriptions and what is heavy; may raise `USER_ERRORS`."""
        raise NotImplementedError

    def own(self, thing: ThingT, end: Callable[[ThingT], object]) -> ThingT:
        """Return a thing that clean-up, or a `set_up` that fails later, ends by `end(thing)`."""
        self._owned.callback(end, thing)
        return thing

    def tear_down(self) -> None:
        """Forget what `set_up` knew; it may have failed half way. What it owned has ended."""
        raise NotImplementedError

    def stop_work(self) -> bool:
        """End the threads; return whether they ended in time."""
        raise NotImplementedError

    def on_config(self, config: ConfigT) -> None:
        """Take over settings that changed while running."""

    def why_idle(self) -> str:
        """Return why it does not work though nothing is wrong, and the command that ends that."""
        if self.is_active:
            return ""
        return f"inactive: ros2 lifecycle set {self.get_fully_qualified_name()} activate"

    def make_worker(self, work: Callable[[JobT], None], capacity: int) -> Worker[JobT]:
        """Start a thread; the problem `FAILURE` tells of what it raises, until that is cleared."""

        def on_failure(error: Exception) -> None:
            self.counters.add("bad")
            what = f"{type(error).__name__}: {_one_line(error)}"
            self.problems.report(FAILURE, f"a frame failed ({what}): the log has the traceback")

        return Worker(work, capacity, self.get_logger(), on_failure)

    def own_steady_timer(self, period_s: float, callback: Callable[[], None]) -> None:
        """Own a timer of the computer's own time: it fires also while /clock stands still."""
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.own(self.create_timer(period_s, callback, clock=clock), self.destroy_timer)

    def check_clock(self) -> None:
        """Report a simulated time that does not run."""
        is_simulated = self.get_parameter("use_sim_time").value
        if is_simulated and self.get_clock().now().nanoseconds == 0:
            self.problems.report(
                "clock",
                "use_sim_time is true but nothing comes on /clock: play the bag with --clock, or "
                "set use_sim_time to false",
            )
        else:
            self.problems.clear("clock")

    # Life cycle

    def start(self) -> None:
        """Configure and activate.

        Raises:
            BaseException: Whatever made it fail, mostly one of `USER_ERRORS`.
        """
        self._is_starting = True
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise self._failure or RuntimeError(f"{self.get_name()} did not start")
        self._is_starting = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Set up; a user's mistake is logged and leaves the node unconfigured."""
        try:
            self.set_up()
        except Exception as error:
            self._failure = error
            is_mistake = isinstance(error, USER_ERRORS)
            if not self._is_starting:  # else `run` says it; rclpy never does
                what = _one_line(error) if is_mistake else f"\n{traceback.format_exc()}"
                self.get_logger().error(f"cannot be configured: {what}")
            self._close()
            if not is_mistake:
                raise
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to answer."""
        self.active_since = time.monotonic()
        self.is_active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to answer; nothing is forgotten."""
        self.is_active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget everything but the parameters."""
        self.is_active = False
        try:
            self._close()
        except Exception:
            self.get_logger().error(f"cannot be cleaned up:\n{traceback.format_exc()}")
            raise  # rclpy says nothing of it
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        if state.state_id == State.PRIMARY_STATE_UNCONFIGURED:
            return TransitionCallbackReturn.SUCCESS
        return self.on_cleanup(state)

    def _answer_change_state(
        self, change: Callable[[Any, Any], Any], request: Any, response: Any
    ) -> Any:
        """Refuse a transition that is not legal now, for which rclpy would end the process."""
        try:
            return change(request, response)
        except rclpy_implementation.RCLError:
            transition = request.transition.label or request.transition.id
            state = self._state_machine.current_state[1]
            sentence = f"transition {transition} is refused in state {state}"
            if getattr(self.config, "autostart", False):
                sentence += "; for a lifecycle manager set autostart: false"
            self.get_logger().error(sentence)
            response.success = False
            return response

    def _close(self) -> None:
        self.stop_work()
        self._owned.close()
        self.tear_down()
        self.problems.clear_all()


def run(
    make_nodes: Callable[[], Sequence[ManagedNode[Any]]],
    name: str,
    args: Sequence[str] | None = None,
) -> int:
    """Run nodes in one executor until a signal; return the exit code.

    Args:
        make_nodes: Called once ROS is initialised; may raise `USER_ERRORS`.
        name: Prefix of the error line.
        args: Command line; None: that of the process.
    """
    stop = threading.Event()
    with signals_set(stop):
        return _run(make_nodes, name, args, stop)


def _run(
    make_nodes: Callable[[], Sequence[ManagedNode[Any]]],
    name: str,
    args: Sequence[str] | None,
    stop: threading.Event,
) -> int:
    try:
        start_rclpy(args)
    except RuntimeError as error:
        return _fail(name, str(error))
    nodes: list[ManagedNode[Any]] = []
    code = 0
    try:
        nodes.extend(make_nodes())
        executor = SingleThreadedExecutor()
        for node in nodes:
            executor.add_node(node)
            if getattr(node.config, "autostart", True):
                node.start()
        for node in nodes:  # nothing could reach the first while the next one's network loaded
            node.active_since = time.monotonic()
        while rclpy.ok() and not stop.is_set():
            executor.spin_once(timeout_sec=_SPIN_PERIOD_S)
    except USER_ERRORS as error:
        code = _fail(name, _one_line(error))
    except ExternalShutdownException:
        pass
    is_clean = True
    for node in nodes:
        is_clean &= node.stop_work()
        node.destroy_node()
    rclpy.try_shutdown()
    if not is_clean:
        # A frame is still being computed in a thread that cannot be interrupted.
        sys.stderr.flush()
        os._exit(code)
    return code


def run_tool(name: str, args: Sequence[str], work: Callable[[threading.Event], int]) -> int:
    """Run a program that listens or plays; return its exit code, or 2 if rclpy cannot start.

    Args:
        name: Prefix of the error line.
        args: Command line.
        work: Called once rclpy has started, with the event that a signal sets.
    """
    stop = threading.Event()
    with signals_set(stop):
        try:
            start_rclpy(args)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return EXIT_USER_ERROR
        try:
            return work(stop)
        finally:
            rclpy.try_shutdown()


def start_rclpy(args: Sequence[str] | None) -> None:
    """Start rclpy, which leaves signals to us.

    Raises:
        RuntimeError: It cannot, in one sentence: a bad argument, or logs that cannot be written.
    """
    try:
        with _silent_stderr():
            rclpy.init(
                args=None if args is None else list(args),
                signal_handler_options=SignalHandlerOptions.NO,
            )
    except (RuntimeError, ValueError, rclpy_implementation.RCLError) as error:
        raise RuntimeError(rewrite_rcl_error(error, args)) from None


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep rcl's C code from writing its own lines beside ours."""
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def _fail(name: str, sentence: str) -> int:
    prefix = "" if sentence.startswith(f"{name}: ") else f"{name}: "
    print(f"{prefix}{sentence}", file=sys.stderr)
    return 1


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
