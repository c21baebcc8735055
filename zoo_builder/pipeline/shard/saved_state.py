"""The training state of a shard that is being built, kept on disk so that a kill costs minutes and not the shard.

A saved state is a safetensors file: weights and both moments [N, P] at `step`, and the checkpoints kept so
far [C, N, P]. Items are drawn by counter, so there is no generator to save. The header holds a hash of the
data: a state that does not match it is left aside, and the shard begins anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.files import file_in, is_there
from rnnzoo.zoo_builder.storage.schema import BUILD_FOLDER
from rnnzoo.zoo_builder.storage.shards import Shard, TensorSpec, read_shard, specs_of, write_shard
from rnnzoo.zoo_builder.training.kernels import TrainState

log = logging.getLogger(__name__)


@dataclass
class ShardState:
    """The training of N runs: those of a shard, or of several that train side by side.

    state: the optimiser's; None at the start. kept: step -> weights [N, P] at that checkpoint.
    """

    state: TrainState | None = None
    kept: dict[int, Tensor] = field(default_factory=dict)

    @property
    def step(self) -> int:
        return 0 if self.state is None else self.state.step


def state_path(folder: Path, shard: ShardPlan) -> Path:
    return folder / BUILD_FOLDER / f"{shard.name}.state.safetensors"


def save_states(folder: Path, shards: Sequence[ShardPlan], training: ShardState, arithmetic: str) -> None:
    """Save the state of shards that are trained side by side, in an arithmetic of this name, a file each."""
    state = training.state
    if state is None:
        raise AssertionError("nothing has been trained yet")
    first = 0
    for shard in shards:
        rows = slice(first, first + len(shard.runs))
        first = rows.stop
        tensors = {
            "weights": state.weights[rows].numpy(),
            "first_moment": state.first_moment[rows].numpy(),
            "second_moment": state.second_moment[rows].numpy(),
        }
        if training.kept:
            tensors["kept"] = np.stack([weights[rows].numpy() for weights in training.kept.values()])
        header = {"step": state.step, "kept_steps": list(training.kept)}
        header |= {"arithmetic": arithmetic, "sha256": _digest(tensors)}
        write_shard(state_path(folder, shard), tensors, header)


def load_state(plan: ZooPlan, folder: Path, shard: ShardPlan, arithmetic: str) -> ShardState:
    """What is saved of a shard; the start of it when nothing (usable in this arithmetic) is."""
    path = state_path(folder, shard)
    if not is_there(path):
        return ShardState()
    try:
        return _checked(plan, shard, read_shard(file_in(folder, str(path.relative_to(folder)))), arithmetic)
    except RnnzooError as error:
        log.warning("%s; training of %s begins anew", error, shard.name)
        return ShardState()


def _checked(plan: ZooPlan, shard: ShardPlan, file: Shard, arithmetic: str) -> ShardState:
    """The state in a file. Raises RnnzooError for one that is not of this shard and arithmetic, or was changed."""
    step, kept_steps = file.metadata.get("step"), file.metadata.get("kept_steps")
    reached = [c for c in plan.config.checkpoints if isinstance(step, int) and c <= step]
    if not isinstance(step, int) or kept_steps not in (reached, [c for c in reached if c < step]):
        raise RnnzooError(f"{file.path}: found step {step!r} and the checkpoints {kept_steps!r:.80}")
    if (found := file.metadata.get("arithmetic")) != arithmetic:
        raise RnnzooError(f"{file.path}: found a state of the arithmetic {found!r:.80}, expected {arithmetic}")
    shape = (len(shard.runs), plan.spec.num_parameters)
    expected = dict.fromkeys(("weights", "first_moment", "second_moment"), TensorSpec(np.dtype(np.float32), shape))
    if kept_steps:
        expected["kept"] = TensorSpec(np.dtype(np.float32), (len(kept_steps), *shape))
    if specs_of(file.tensors) != expected:
        raise RnnzooError(
            f"{file.path}: found other tensors than those of {len(shard.runs)} runs: {list(file.tensors)}"
        )
    tensors = {name: np.array(tensor) for name, tensor in file.tensors.items()}
    if _digest(tensors) != file.metadata.get("sha256"):
        raise RnnzooError(f"{file.path}: the data do not match their hash")
    weights, first_moment, second_moment, *kept = (torch.from_numpy(tensors[name]) for name in expected)
    state = TrainState(plan.spec, weights, first_moment, second_moment, step)
    return ShardState(state, dict(zip(kept_steps, kept[0], strict=True)) if kept else {})


def join_states(spec: RNNSpec, shards: Sequence[ShardState]) -> ShardState:
    """The state of several shards that stand at the same step, to train them side by side."""
    if len(shards) == 1:
        return shards[0]
    states = [shard.state for shard in shards if shard.state is not None]
    if not states:
        return ShardState()
    joined = TrainState(
        spec,
        torch.cat([state.weights for state in states]),
        torch.cat([state.first_moment for state in states]),
        torch.cat([state.second_moment for state in states]),
        states[0].step,
    )
    return ShardState(joined, {step: torch.cat([shard.kept[step] for shard in shards]) for step in shards[0].kept})


def _digest(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
