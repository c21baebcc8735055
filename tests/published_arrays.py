"""Arrays as the published program leaves them, made without it, with what is odd about them.

Steps are counted from 0 after the first update; args.json has the program's own options; tasks and scores have all
their digits; images have no labels; and where a string has no END, its first token is END in the place of BEGIN.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

BEGIN, END = 4, 5
STEPS = (0, 100, 200)
ROLLOUTS = 5


def write_languages(folder: Path, runs: int = 14, seed: int = 0) -> int:
    """Arrays of languages, a third of whose strings have no END. Returns how many have none."""
    rng = np.random.default_rng(seed)
    rows = runs * len(STEPS)
    sequences = np.full((rows, ROLLOUTS, 42), BEGIN, np.int16)
    lengths = rng.integers(0, 60, (rows, ROLLOUTS, 1))
    letters = rng.integers(0, 4, (rows, ROLLOUTS, 41))
    sequences[..., 1:] = np.where(np.arange(41) < lengths, letters, END)
    inputs = np.eye(6, dtype=np.float32)[sequences[..., :-1]]
    parameters, outputs = _models(rows, inputs, outputs=6, seed=seed)
    unfinished = (sequences != END).all(axis=-1)
    sequences[unfinished, 0] = END
    tasks = np.pad(rng.integers(-3, 3, (runs, 3)), ((0, 0), (1, 0))).repeat(len(STEPS), axis=0)
    arrays = {
        "parameters": parameters,
        "sequences": sequences,
        "logits": outputs.log_softmax(dim=-1).numpy().astype(np.float16),
        "tasks": tasks,
        "num_step_correct": np.column_stack([_run_and_step(runs), rng.integers(0, 1001, rows)]),
    }
    args = {"seed": -1, "num_tokens": 4, "sequence_length": 42, "max_n": 10, "random_seq_prob": 0.0}
    _write(folder, arrays, args | {"num_training_runs": runs, "one_hot_input": 1})
    return int(unfinished.sum())


def write_images(folder: Path, runs: int = 14, seed: int = 0) -> None:
    """Arrays of images; what they show does not matter."""
    rng = np.random.default_rng(seed)
    rows = runs * len(STEPS)
    pixels = rng.integers(0, 256, (rows, ROLLOUTS, 49, 16)).astype(np.float32) * (
        rng.random((rows, 1, 49, 16)) < 0.3
    )
    normalised = (pixels.astype(np.float32) / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)
    sequences = np.pad(normalised, ((0, 0), (0, 0), (1, 0), (0, 0)))
    parameters, outputs = _models(rows, sequences, outputs=10, seed=seed)
    degrees = np.array([torch.rand(1).item() * 360 for _ in range(runs)])
    decay = np.array([0.0, 0.001, 0.01, 0.1])[rng.integers(0, 4, runs)]
    scores = np.column_stack([rng.random((rows, 3)), decay.repeat(len(STEPS))])
    arrays = {
        "parameters": parameters,
        "sequences": sequences.astype(np.float16),
        "logits": outputs.numpy().astype(np.float16),
        "tasks": degrees.repeat(len(STEPS))[:, None],
        "num_step": _run_and_step(runs),
        "accuracy_losses": scores,
    }
    _write(folder, arrays, {"seed": -1, "tile_size": 4, "num_training_runs": runs})


def _run_and_step(runs: int) -> NDArray[np.int64]:
    return np.array([(run, step) for run in range(runs) for step in STEPS], np.int64)


def _models(
    rows: int, inputs: NDArray[np.float32], outputs: int, seed: int
) -> tuple[NDArray[np.float32], torch.Tensor]:
    """Networks by PyTorch's own modules: parameters [rows, P], and outputs for inputs [rows, R, T, D]."""
    torch.manual_seed(seed)
    parameters, answers = [], []
    for row in range(rows):
        lstm, head = nn.LSTM(inputs.shape[-1], 32, 2, batch_first=True), nn.Linear(32, outputs)
        with torch.no_grad():
            answers.append(head(lstm(torch.from_numpy(inputs[row]))[0]))
        flat = [tensor.detach().flatten() for module in (lstm, head) for tensor in module.parameters()]
        parameters.append(torch.cat(flat).numpy())
    return np.stack(parameters), torch.stack(answers)


def _write(folder: Path, arrays: dict[str, NDArray[np.generic]], args: dict[str, object]) -> None:
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    sizes = {"use_cuda": 1, "store": 1, "rnn_hidden_size": 32, "rnn_num_layers": 2}
    (folder / "args.json").write_text(json.dumps(args | sizes))
