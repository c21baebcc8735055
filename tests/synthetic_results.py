"""A folder of results as `zoo-bench run` writes it, made up: encoders of known skill on two small zoos."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.results.content import (
    Emulation,
    Leakage,
    Readout,
    Result,
    Rows,
    Sequence,
    SplitRows,
    Untrained,
)
from rnnzoo.loaders.benchmark.results.files import (
    leaderboard_folder,
    write_emulation,
    write_leakage,
    write_result,
    write_rows,
)
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.tasks.target import COMMON_TARGETS

STEPS = (0, 100, 500, 2000)
DIGESTS = {
    "formal_languages": "fma-1-0123abcd-0123456789abcdef",
    "sequential_mnist": "fma-1-4567cdef-fedcba9876543210",
}
VERSIONS = {"rnnzoo": "0.1.0", "torch": "2.9.0"}
SKILLS = {
    "noninteractive_probing": ("functionalist", "frozen", 0.7),
    "interactive_probing(probes=4)": ("functionalist", "frozen", 0.8),
    "probe_generator": ("functionalist", "supervised", 0.9),
    "layer_statistics": ("mechanistic", "frozen", 0.2),
    "flat_mlp": ("mechanistic", "supervised", 0.1),
    "completion_probing": ("hand-made", "frozen", 0.82),
    "greedy_decode": ("control", "features", 0.85),
    "behaviour_statistics": ("control", "features", 0.75),
    "my_encoder:Mine": ("user", "frozen", 0.5),
}
"""Encoder -> group, track, and the share of rows that it gets right."""
UNTRAINED_SHARE = 0.25
"""Of what a learned encoder gets right, what it did before its training."""


def make_rows(zoo: str, runs: int = 12, digest: str = "") -> Rows:
    """Rows of test and ood: `runs` runs each, two a task; the targets are the task and the accuracy."""
    family, _ = ZOOS[zoo]
    random = np.random.default_rng(0)
    splits = {}
    for place, split in enumerate(("test", "ood")):
        run = [f"run-{place * runs + n:06d}" for n in range(runs) for _ in STEPS]
        step = list(STEPS) * runs
        accuracy = np.clip(np.log1p(step) / 8 + random.normal(0, 0.1, len(step)), 0, 1)
        targets = {"accuracy": accuracy.round(4).tolist()}
        if zoo == "formal_languages":
            tasks = random.integers(-3, 3, size=(-(-runs // 2), 3))
            targets["offsets"] = [tasks[n // 2].tolist() for n in range(runs) for _ in STEPS]
        else:
            angles = random.uniform(0, 360, size=-(-runs // 2)).round(3)
            targets["rotation"] = [angles[n // 2] for n in range(runs) for _ in STEPS]
        task = [f"task-{place * runs + n // 2}" for n in range(runs) for _ in STEPS]
        splits[split] = SplitRows(run=run, task=task, step=step, targets=targets)
    config = {"zoo": zoo, "family": family.name, "preset": "small", "runs": 256, "steps": 2000}
    return Rows(
        zoo=zoo, zoo_digest=digest or DIGESTS[zoo], zoo_config=config, protocol="strict",
        targets=[family.targets[0], COMMON_TARGETS[0]], splits=splits,
    )  # fmt: skip


def make_key(rows: Rows, encoder: str) -> ResultKey:
    """The key of all results of an encoder."""
    code = {f"{encoder}.py": "0123456789abcdef", "rnnzoo/loaders/training.py": "fedcba9876543210"}
    settings = {"encoder": encoder, "track": SKILLS[encoder][1]}
    return ResultKey(code=code, versions=VERSIONS, zoo_digest=rows.zoo_digest, settings=settings)


def make_result(rows: Rows, encoder: str, target: str, seed: int) -> Result:
    """A result that is right on a share of the rows that grows with the encoder's skill."""
    group, track, skill = SKILLS[encoder]
    random = np.random.default_rng([seed, *encoder.encode(), *target.encode()])
    predictions, scores = _predict(rows, target, skill, random)
    learned = track != "features"
    untrained, before = _predict(rows, target, UNTRAINED_SHARE * skill, random)
    twin = Untrained(
        readout="linear",
        readouts={"linear": Readout(validation=0.9, scores=before)},
        predictions=untrained,
        scores=before,
    )
    return Result(
        key=make_key(rows, encoder),
        zoo=rows.zoo,
        zoo_digest=rows.zoo_digest,
        encoder=encoder,
        group=group,
        published="probing" in encoder or group == "mechanistic",
        uses_data=encoder == "behaviour_statistics",
        track=track,
        protocol=rows.protocol,
        target=target,
        seed=seed,
        preset="quick" if learned else None,
        training={"steps": 600} if learned else None,
        parameters=1_150_000 if learned else 0,
        embedding_size=16,
        readout="end to end" if track == "supervised" else "mlp",
        readouts={"mlp": Readout(validation=1 - skill, scores=scores)},
        predictions=predictions,
        scores=scores,
        twin=twin if learned else None,
        curve=[
            {"step": step, "train_loss": 2.0, "validation_loss": 1 + (1 - skill) * np.exp(-step / 200)}
            for step in (range(0, 601, 200) if track == "supervised" else ())
        ],
        seconds={"readouts": 1.0},
        command=f"zoo-bench run --zoo {rows.zoo} --encoder '{encoder}' --track {track} --seeds 3",
    )


def _predict(rows: Rows, target: str, skill: float, random: np.random.Generator) -> tuple[dict, dict]:
    """Predictions that are right on a share `skill` of the rows, and their scores."""
    predictions, scores, about = {}, {}, rows.target(target)
    for split, split_rows in rows.splits.items():
        truth = split_rows.truth(about)
        right = random.random(len(truth)) < skill
        guess = random.permutation(truth)
        predictions[split] = np.where(right[:, None] if truth.ndim == 2 else right, truth, guess).tolist()
        steps = np.array(split_rows.step)[split_rows.covered(about)]
        scores[split] = score(about, truth, np.array(predictions[split]), steps)
    return predictions, scores


def make_emulation(rows: Rows, encoder: str, seed: int) -> Emulation:
    """A training by emulation whose loss falls further the more skilled the encoder is."""
    skill = SKILLS[encoder][2]
    random = np.random.default_rng([seed, *encoder.encode()])
    floor = 0.06 - 0.05 * skill
    steps = range(0, 601, 100)
    losses = [floor + 0.3 * np.exp(-step / 120) * random.uniform(0.9, 1.1) for step in steps]
    width, steps_shown, outputs = (6, 22, 6) if rows.zoo == "formal_languages" else (16, 50, 10)
    probes = answers = None
    if "probing" in encoder:
        probes = _distributions(random, 4, steps_shown, width)
        answers = _distributions(random, 4, steps_shown, outputs)
    points = {}
    for split, entry in rows.splits.items():
        task = np.array([float(name.removeprefix("task-")) for name in entry.task])
        arms = np.stack([np.cos(task), np.sin(task)], axis=1) * np.log1p(entry.step)[:, None]
        points[split] = arms * skill + random.normal(size=arms.shape)
    return Emulation(
        key=make_key(rows, encoder),
        zoo=rows.zoo,
        zoo_digest=rows.zoo_digest,
        encoder=encoder,
        seed=seed,
        preset="quick",
        training={"steps": 600, "loss": "total_variation"},
        parameters=1_150_000,
        curve=[
            {"step": step, "train_loss": loss * 0.9, "validation_loss": loss}
            for step, loss in zip(steps, losses, strict=True)
        ],
        losses={"validation": losses[-1], "test": losses[-1] * 1.05, "ood": losses[-1] * 1.4},
        row_losses={split: [losses[-1]] * len(entry.step) for split, entry in rows.splits.items()},
        performance={
            split: {"original": 0.71, "emulated": 0.71 * skill, "per checkpoint": [[0.71, 0.71 * skill]] * 3}
            for split, entry in rows.splits.items()
        },
        map=points,
        sequences=[
            Sequence(
                split=split,
                task=entry.task[-1],
                step=entry.step[-1],
                text="aaabbbccc$",
                original=_distributions(random, steps_shown, outputs),
                emulated=_distributions(random, steps_shown, outputs),
            )
            for split, entry in rows.splits.items()
        ],
        probes=probes,
        answers=answers,
        seconds={"training": 100.0},
        command=f"zoo-bench run --zoo {rows.zoo} --encoder '{encoder}' --track frozen --seeds 3",
    )


def _distributions(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Probabilities over the last axis."""
    return random.dirichlet(np.full(shape[-1], 0.3), size=shape[:-1]).round(3)


def write_results(
    folder: Path, zoo: str, seeds: int = 3, runs: int = 12, encoders: tuple[str, ...] = tuple(SKILLS)
) -> Path:
    """A whole board under `folder`/<zoo>/strict; returns its folder."""
    rows = make_rows(zoo, runs)
    board = leaderboard_folder(folder, zoo, rows.protocol)
    write_rows(board, rows)
    targets = [target.name for target in rows.targets]
    for seed in range(seeds):
        for encoder in encoders:
            for target in targets:
                write_result(board, make_result(rows, encoder, target, seed))
            if SKILLS[encoder][1] == "frozen":
                write_emulation(board, make_emulation(rows, encoder, seed))
    scores = {"checkpoint": {"R2": 0.943}, "run": {"R2": -1.37}, "task": {"R2": -1.73}}
    write_leakage(
        board,
        Leakage(
            zoo_digest=rows.zoo_digest, encoder="raw weights", target=targets[0],
            readout="nearest neighbour", scores=scores,
        ),
    )  # fmt: skip
    return board
