# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One training loop for every stage: detector on shapes, detector on photos, joint SuperPoint."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from superpoint_ros.config import ConfigError, from_mapping, to_mapping
from superpoint_ros.files import sole_use, write_text
from superpoint_ros.machine import find_commit
from superpoint_ros.network.superpoint import SuperPoint, fold_batch_norm
from superpoint_ros.training.averaging import follow
from superpoint_ros.training.checkpoint import (
    CHECKPOINT_NAME,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from superpoint_ros.training.datasets import (
    Batch,
    BatchSource,
    LabelledPhotos,
    Prefetcher,
    View,
    photo_batches,
    shape_batches,
)
from superpoint_ros.training.distributed import (
    join_batch_norms,
    process_rank,
    sum_gradients,
    sum_over_processes,
    wait_for_all,
)
from superpoint_ros.training.objective import compute_losses
from superpoint_ros.training.optimizer import Optimizer
from superpoint_ros.training.progress import Progress
from superpoint_ros.training.provenance import describe_hardware
from superpoint_ros.training.stage import TrainConfig, learning_rate_at

_LOG = logging.getLogger(__name__)
_MAX_SKIPPED_IN_A_ROW = 20


class DivergenceError(RuntimeError):
    """Training that has come apart; the message says what to change."""


def make_source(config: TrainConfig, photos: LabelledPhotos | None) -> BatchSource:
    """Return what makes the batches of a stage.

    Raises:
        ConfigError: The stage needs photos and there are none.
    """
    is_subpixel = config.loss.is_subpixel
    if config.source == "shapes":
        return shape_batches(
            config.shapes, config.augmentation, config.batch_size, config.seed, is_subpixel
        )
    if photos is None:
        raise ConfigError("source: photos needs --images and labels")
    pairs = photo_batches(
        photos, config.photos, config.augmentation, config.batch_size, config.seed, is_subpixel
    )
    if not config.shapes_per_step:
        return pairs
    height, width = config.photos.height, config.photos.width
    drawings = shape_batches(
        dataclasses.replace(config.shapes, height=height, width=width),
        config.augmentation,
        config.shapes_per_step,
        config.seed,
        is_subpixel,
    )
    return lambda step: pairs(step)._replace(shapes=drawings(step).a)


def train(
    config: TrainConfig,
    source: BatchSource,
    folder: Path,
    initial: dict[str, Any] | None = None,
    device: str = "cpu",
    stop_after: int | None = None,
    teacher: SuperPoint | None = None,
) -> Checkpoint:
    """Train one stage, or go on where `folder` left off.

    Args:
        config: Of the stage.
        source: Batches by step.
        folder: Gets `last.pt`, `history.json` and TensorBoard's events.
        initial: State dict to start from; None: random weights.
        device: Of torch.
        stop_after: Stop when so many steps are done in all, as a killed run would (tests).
        teacher: Whom `is_distilled` learns from; None: the running mean of itself, or what it
            began with (`teacher_steps`).

    Returns:
        The last checkpoint.

    Raises:
        ConfigError: `folder` holds a run with another config, or of another length whose rate has
            begun to fall, or one that has learnt from a teacher, and none is given; or `teacher`
            is given, and `kept_share` wants none.
        DivergenceError: Too many losses in a row were not finite.
        OSError: Another training is at work in `folder`, or nothing can be written there.
    """
    with ExitStack() as stack:
        if process_rank() == 0:  # the others belong to it
            stack.enter_context(sole_use(folder))
        return _train_alone(config, source, folder, initial, device, stop_after, teacher)


def _train_alone(
    config: TrainConfig,
    source: BatchSource,
    folder: Path,
    initial: dict[str, Any] | None,
    device: str,
    stop_after: int | None,
    teacher: SuperPoint | None,
) -> Checkpoint:
    if teacher is not None:
        if config.kept_share:
            raise ConfigError("kept_share: needs the start as teacher, so no other can be named")
        teacher = _as_teacher(teacher).to(device)
    torch.manual_seed(config.seed)
    network = SuperPoint(config.network).to(device).train()
    join_batch_norms(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = Optimizer(
        network, config.learning_rate, config.weight_decay, config.optimizer == "muon"
    )
    path = folder / CHECKPOINT_NAME
    state = load_checkpoint(path)
    if state is not None:
        _check_same_config(state, config, path)
        network.load_state_dict(state.network)
        optimizer.load_state_dict(state.optimizer)
        _LOG.info("%s: resumed at step %d of %d", folder.name, state.step, config.steps)
    else:
        state = Checkpoint(config=to_mapping(config))
        if initial is not None:
            network.load_state_dict(initial)
    if state.is_finished and state.step >= config.steps:
        if process_rank() == 0:
            _write_history(path, state)  # a kill may have come between the two files
        return state
    if state.step and config.is_distilled and teacher is None and not state.mean:
        raise ConfigError(f"{path}: has begun with a teacher: name it with --teacher FILE")
    state.is_finished = False  # or it has become longer
    state.config = to_mapping(config)
    for known, now in ((state.commits, find_commit()), (state.hardware, describe_hardware())):
        if now and now not in known:
            known.append(now)
    mean = copy.deepcopy(network) if config.is_distilled and teacher is None else None
    if mean is not None and state.mean:
        mean.load_state_dict(state.mean)
    end = min(config.steps, stop_after or config.steps)
    progress = Progress(folder.name, config.steps, state.step)
    sums: dict[str, float] = {}
    summed = skipped_in_a_row = 0
    started = saved = time.monotonic()
    wall_time_before = state.wall_time_s
    with _writer(folder) as writer:
        for batch in Prefetcher(source, config.loader_threads).batches(state.step, end):
            optimizer.set_learning_rate(learning_rate_at(state.step, config))
            if state.step >= config.freeze_after:
                _freeze(network, config.frozen_layers)
            network.zero_grad(set_to_none=True)
            batch = _to_device(batch, device)
            statistics = [buffer.clone() for buffer in network.buffers()]
            if mean is not None and (teacher is None or config.teacher_steps):
                teacher = _as_teacher(mean)
            terms = compute_losses(network, batch, config, teacher)
            loss = torch.stack(list(terms.values())).sum()
            is_finite = bool(torch.isfinite(sum_over_processes(loss.detach())))
            if is_finite:
                loss.backward()  # type: ignore[no-untyped-call]
                sum_gradients(network.parameters())
                norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
                is_finite = bool(torch.isfinite(norm))
            if is_finite:
                optimizer.step()
                if mean is not None and config.teacher_steps:
                    follow(mean, network, config.teacher_steps)
                skipped_in_a_row = 0
                summed += 1
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0.0) + float(term.detach())
            else:
                for buffer, before in zip(network.buffers(), statistics, strict=True):
                    buffer.copy_(before)  # what is not finite would stay in BatchNorm for ever
                skipped_in_a_row += 1
                state.skipped_steps.append(state.step)
                _LOG.warning(
                    "step %d skipped: its loss is not finite (%s)",
                    state.step,
                    ", ".join(batch.names),
                )
                if skipped_in_a_row >= _MAX_SKIPPED_IN_A_ROW:
                    raise DivergenceError(
                        f"{folder.name}: {skipped_in_a_row} losses in a row are not finite; "
                        "lower learning_rate"
                    )
            state.step += 1
            state.wall_time_s = wall_time_before + time.monotonic() - started
            if state.step % config.log_every == 0 or state.step == config.steps:
                row = {name: _total(v, device) / max(summed, 1) for name, v in sums.items()}
                state.history.append({"step": float(state.step), **row})
                sums, summed = {}, 0
                progress.show(state.step, row)
                for name, value in row.items():
                    if writer is not None:
                        writer.add_scalar(name, value, state.step)
                is_due = time.monotonic() - saved >= config.checkpoint_every_s
                if is_due and state.step < config.steps:
                    _save(path, state, network, optimizer, mean)
                    saved = time.monotonic()
    state.is_finished = state.step >= config.steps
    _save(path, state, network, optimizer, mean)
    wait_for_all()  # the next stage reads the file
    return state


def _total(value: float, device: str) -> float:
    """Return the sum of what each process has."""
    return float(sum_over_processes(torch.tensor(value, dtype=torch.float64, device=device)))


def _freeze(network: SuperPoint, layers: tuple[str, ...]) -> None:
    """Stop the learning of layers, their BatchNorm statistics included."""
    for name in layers:
        getattr(network, "conv" + name).requires_grad_(False)
        getattr(network, "bn" + name).requires_grad_(False).eval()


def _as_teacher(network: SuperPoint) -> SuperPoint:
    """Return an equal network, BatchNorm folded, that only looks."""
    teacher = fold_batch_norm(network).requires_grad_(False)
    return teacher.to(memory_format=torch.channels_last)  # type: ignore[no-any-return,call-overload]


def _save(
    path: Path,
    state: Checkpoint,
    network: SuperPoint,
    optimizer: Optimizer,
    mean: SuperPoint | None,
) -> None:
    """Write the checkpoint and the history beside it.

    Only on a row's boundary, so that a resumed run averages the same steps into the same rows.
    """
    state.network, state.optimizer = network.state_dict(), optimizer.state_dict()
    state.mean = mean.state_dict() if mean is not None else {}
    if process_rank() != 0:
        return
    save_checkpoint(path, state)
    _write_history(path, state)


def _write_history(path: Path, state: Checkpoint) -> None:
    rows = {"history": state.history, "skipped_steps": state.skipped_steps}
    write_text(path.with_name("history.json"), json.dumps(rows))


def _check_same_config(state: Checkpoint, config: TrainConfig, path: Path) -> None:
    """Refuse to mix two trainings; what changes no result, and the length, may differ."""
    free = {"steps", "decay_share", "checkpoint_every_s", "loader_threads", "log_every"}
    # Settings that are younger than the checkpoint had their default's effect.
    old = from_mapping(TrainConfig, state.config, str(path))
    before, now = to_mapping(old), to_mapping(config)
    changed = sorted(key for key in now if key not in free and before[key] != now[key])
    if changed:
        is_schedule = set(changed) <= {"warmup_steps", "freeze_after", "teacher_steps"}
        wanted = "give the --schedule that it began with, or " if is_schedule else ""
        raise ConfigError(
            f"{path}: made with another config ({', '.join(changed)}); "
            f"{wanted}choose another --out"
        )
    if state.step >= config.steps:  # nothing is left to do
        return
    # A rate that has begun to fall must not rise again: no run of the new length would have done
    # these steps, and what the fall has settled would be undone.
    has_fallen = config.warmup_steps <= state.step and (
        learning_rate_at(state.step - 1, old) < config.learning_rate
    )
    if has_fallen and learning_rate_at(state.step, config) > learning_rate_at(state.step, old):
        raise ConfigError(
            f"{path}: {state.step} steps of {old.steps} are done and the learning rate has begun "
            f"to fall, so it cannot go on to {config.steps}: set steps: {old.steps} and "
            f"decay_share: {old.decay_share}, or choose another --out"
        )


def _to_device(batch: Batch, device: str) -> Batch:
    if device == "cpu":
        return batch

    def move(value: Any) -> Any:
        if isinstance(value, View):
            return View(*(tensor.to(device) for tensor in value))
        return value.to(device) if isinstance(value, Tensor) else value

    return Batch(*(move(value) for value in batch))


@contextmanager
def _writer(folder: Path) -> Iterator[Any]:
    """Yield a TensorBoard writer, or None where TensorBoard is not installed."""
    if process_rank() != 0:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield None
        return
    writer = SummaryWriter(str(folder))
    try:
        yield writer
    finally:
        writer.close()
