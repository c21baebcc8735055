"""The loop that trains encoders: AdamW, warm-up and decay, clipping, checkpoints, exact resume.

All randomness of step s (batches, augmentation) comes from torch's generator, seeded anew by 64 bits that are a
function of (seed, s). So no state of a generator has to be kept, and a training that was stopped goes on with the
same numbers.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.loaders.training_config import TrainingConfig
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.random_streams import Stream, bits
from rnnzoo.zoo_builder.storage.writing import replacing

SAVE_SECONDS = 30.0
STATE = ".pt"
"""Ending of the names of saved states."""


class TrainingObserver(Protocol):
    """Who watches a training: told of every step."""

    def step_done(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        """Take note of a step.

        Args:
            step: Steps done so far.
            train_loss: Of this step's batch.
            validation_loss: None at steps without a validation.
        """
        ...


def train(
    module: nn.Module,
    batch_loss: Callable[[int], Tensor],
    validation_loss: Callable[[], float],
    config: TrainingConfig,
    seed: int,
    state_path: Path,
    observer: TrainingObserver,
    key: ResultKey | None = None,
) -> list[dict[str, float]]:
    """Train `module` in place by AdamW and leave it with the weights of its best validation.

    The batches depend on `seed` and the step alone, so a training that goes on from its saved state draws the same
    ones.

    Args:
        module: What is trained.
        batch_loss: Draws a batch from torch's global generator and returns its loss; takes the steps done so far.
        validation_loss: The loss by which the best weights are chosen; called in evaluation mode, without
            gradients.
        config: Settings of the training.
        seed: For the batches.
        state_path: Where the state is saved every half minute, and read from if it is there. The caller deletes it
            once the results are safe.
        observer: Told of every step.
        key: Of the result that the training is for; a saved state of another key is not gone on with.

    Returns:
        The learning curve: for each validation its "step", the mean "train_loss" since the last one, and its
            "validation_loss". It ends early where `config.patience` says so.

    Raises:
        RnnzooError: The loss stops being finite, or the saved state is not of this training.
    """
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step, curve, best = 0, [], (math.inf, _copy(module))
    if state_path.exists():
        step, curve, best = _load_state(state_path, module, optimizer, config, seed, key)
    saved, running, window = time.monotonic(), 0.0, 0
    devices = [p.device for p in module.parameters() if p.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices=devices):
        while step < config.steps and not _is_out_of_patience(curve, best[0], config):
            seed_step(seed, step)
            module.train()
            loss = batch_loss(step)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise RnnzooError(f"training: the loss became {value} at step {step}; try a lower learning rate")
            _update(module, optimizer, loss, config, step)
            step, running, window = step + 1, running + value, window + 1
            found = None
            if step % config.validate_every == 0 or step == config.steps:
                module.eval()
                with torch.no_grad():
                    found = validation_loss()
                if not math.isfinite(found):
                    raise RnnzooError(f"training: the validation loss became {found} at step {step}")
                curve.append({"step": step, "train_loss": running / window, "validation_loss": found})
                running, window = 0.0, 0
                if found < best[0]:
                    best = found, _copy(module)
                if time.monotonic() - saved > SAVE_SECONDS:
                    _save_state(state_path, module, optimizer, config, seed, key, step, curve, best)
                    saved = time.monotonic()
            observer.step_done(step, value, found)
    module.load_state_dict(best[1])
    module.eval()
    return curve


def seed_step(seed: int, step: int) -> None:
    """Seed torch's global generator for one step of a training.

    A CPU's generator reads no more than the low 32 bits of what it is seeded by: they are as random as the rest.

    Args:
        seed: That of the training.
        step: Steps done so far.
    """
    torch.manual_seed(int(bits(seed, Stream.ENCODER_BATCHES, step, 1)[0]))


def _update(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, config: TrainingConfig, step: int
) -> None:
    """One update by the loss of a batch. step: updates before it."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for part in module.children() if config.clipping == "apart" else [module]:
        nn.utils.clip_grad_norm_(part.parameters(), config.clip)
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    optimizer.step()


def draw_models(count: int, config: TrainingConfig, seed: int, step: int) -> Tensor:
    """Which of `count` RNNs a step is made of, by `config.draws`.

    Args:
        count: RNNs to draw from.
        config: Settings of the training.
        seed: That of the training.
        step: Steps done so far.

    Returns:
        Their indices, int64 [N]: N is `config.models`, or less at the end of an epoch.
    """
    if config.draws == "independent":
        return torch.randint(count, (config.models,))
    epoch, place = divmod(step, math.ceil(count / config.models))
    order = np.random.default_rng((seed, epoch)).permutation(count)
    return torch.from_numpy(order).split(config.models)[place]


def _is_out_of_patience(curve: list[dict[str, float]], best: float, config: TrainingConfig) -> bool:
    """Whether the last validation came more than `patience` steps after the best one."""
    if not config.patience or not curve:
        return False
    improved = next((point["step"] for point in curve if point["validation_loss"] == best), 0)
    return curve[-1]["step"] - improved > config.patience


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _save_state(path, module, optimizer, config, seed, key, step, curve, best) -> None:  # type: ignore[no-untyped-def]
    state = {
        "config": config.to_dict(),
        "seed": seed,
        "key": None if key is None else key.model_dump(),
        "step": step,
        "curve": curve,
        "best_loss": best[0],
        "best": best[1],
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with _interrupts_wait(), replacing(path) as file:
        torch.save(state, file)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """A Ctrl-C within the block is raised at its end.

    In the midst of `torch.save` it may be lost (pickling swallows it where it looks up slots), come out as an
    error of the archive that was left half written, or end the process, when the archive is closed after its
    file.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one is interrupted
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: arrived.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived and callable(before):
        before(*arrived[0])


def _load_state(path, module, optimizer, config, seed, key):  # type: ignore[no-untyped-def]
    """Step, curve and best of a training that was stopped; a state of another training is an error."""
    try:
        state = _read_state(path, next(module.parameters()).device)
        found, made_for = (state["config"], state["seed"]), _key_of(state)
        if found == (config.to_dict(), seed) and made_for == key:
            return _resumed(state, module, optimizer, config)
    except Exception as error:  # torch does not say what its restricted unpickler raises
        raise RnnzooError(f"{path}: not the state of this training ({error}); delete it to begin anew") from error
    if found == (config.to_dict(), seed) and made_for is not None and key is not None:
        difference = made_for.difference(key)
    else:
        difference = f"found {found[0]}, seed {found[1]}, expected {config.to_dict()}, seed {seed}"
    raise RnnzooError(f"{path}: the state of another training: {difference}; delete it to begin anew")


def read_state_key(path: Path) -> ResultKey | None:
    """The key in the saved state of a training; None where it has none, or the file is broken."""
    try:
        return _key_of(_read_state(path, torch.device("cpu")))
    except Exception:  # torch does not say what its restricted unpickler raises
        return None


def _read_state(path: Path, device: torch.device) -> Any:
    _check_archive(path)
    return torch.load(path, weights_only=True, map_location=device)


def _key_of(state: Any) -> ResultKey | None:
    return None if state["key"] is None else ResultKey.model_validate(state["key"])


def _check_archive(path: Path) -> None:
    """Raise ValueError unless a file is an archive as torch writes it: nothing in it grows when it is read."""
    if not path.is_file():
        raise ValueError("no file")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("found compressed entries, expected none")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("its entries overlap")


def _resumed(state, module, optimizer, config):  # type: ignore[no-untyped-def]
    """Load a state into module and optimiser; returns step, curve and best. Raises for what does not fit them."""
    fresh = [{**group, "params": None, "lr": None} for group in optimizer.param_groups]
    module.load_state_dict(state["best"])
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    if fresh != [{**group, "params": None, "lr": None} for group in optimizer.param_groups]:
        raise ValueError("the optimiser is another")
    for parameter, moments in optimizer.state.items():
        if any(moments[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
            raise ValueError("the optimiser's moments have other shapes than the parameters")
    step, curve, best_loss = state["step"], state["curve"], state["best_loss"]
    points = [(point["step"], point["train_loss"], point["validation_loss"]) for point in curve]
    if type(step) is not int or not 0 <= step <= config.steps or type(best_loss) is not float:
        raise ValueError(f"found step {step!r} and loss {best_loss!r}")
    if not all(type(at) is int and type(train) is type(found) is float for at, train, found in points):
        raise ValueError("its learning curve has values that are no numbers")
    return step, curve, (best_loss, state["best"])
