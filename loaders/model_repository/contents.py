"""What a model repository holds: trained encoders, the results they had, scores for the leaderboard, and a card.

README.md                            the card
config.json                          encoder, code, versions, zoo: what made it
encoder/seed<k>.safetensors          the encoder trained from a seed; <target>-seed<k> on the track supervised
results/<zoo>/strict/...             as zoo-bench wrote them, without the folders that commands name
.eval_results/<target>.yaml          scores, as the hub's leaderboards gather them
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save

from rnnzoo.loaders.benchmark.prediction.scores import better
from rnnzoo.loaders.benchmark.report.statistics import Estimate
from rnnzoo.loaders.benchmark.report.tables import TargetTable, target_tables
from rnnzoo.loaders.benchmark.report.text import markdown, number, with_interval
from rnnzoo.loaders.benchmark.results.content import Result, ResultsFile
from rnnzoo.loaders.benchmark.results.files import (
    ROWS,
    emulation_path,
    encoder_folder,
    file_content,
    read_emulation,
    result_path,
    without_folders,
)
from rnnzoo.loaders.benchmark.results.kept import kept_path, read_encoder
from rnnzoo.loaders.model_repository.subject import Subject
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.escaping import for_code, for_code_block, for_markdown
from rnnzoo.zoo_builder.hub import FRAMEWORK, code_url
from rnnzoo.zoo_builder.tasks.target import task_id

CONFIG = "config.json"
SCORES_FOLDER, WEIGHTS_FOLDER, RESULTS_FOLDER = ".eval_results", "encoder", "results"


@dataclass(frozen=True)
class Entry:
    """A score of the leaderboard.

    Attributes:
        target: What was predicted.
        split: On which tasks.
        score: What is measured; higher is better.
        estimate: Its mean over seeds, with its interval.
    """

    target: str
    split: str
    score: str
    estimate: Estimate


def repository_files(subject: Subject, repo_id: str) -> dict[str, bytes]:
    """Name -> content of all files of the repository.

    Raises:
        RnnzooError: What was trained is not there, or nothing was measured that the leaderboard has.
    """
    entries = leaderboard_entries(subject)
    files = _results(subject)
    made = _day(subject)
    for target in dict.fromkeys(entry.target for entry in entries):
        own = [_eval_result(subject, entry, repo_id, made) for entry in entries if entry.target == target]
        text = yaml.safe_dump(own, sort_keys=False, allow_unicode=True)
        files[f"{SCORES_FOLDER}/{encoder_folder(target)}.yaml"] = text.encode()
    files |= _weights(subject)
    files[CONFIG] = (json.dumps(_config(subject), indent=1) + "\n").encode()
    files["README.md"] = _card(subject, repo_id, entries, files).encode()
    return files


def leaderboard_entries(subject: Subject) -> list[Entry]:
    """The scores that the data set's leaderboard has tasks for: of every target the first of which more is better.

    Raises:
        RnnzooError: There are none.
    """
    entries = []
    for table in target_tables(subject.board, None):
        (line,) = table.lines
        score = _rising_score(table)
        for split in table.splits:
            estimate = line.scores[split][score] if score else None
            if score and estimate is not None and task_id(table.target.name, split) in subject.dataset.tasks:
                entries.append(Entry(table.target.name, split, score, estimate))
    if not entries:
        known = ", ".join(sorted(subject.dataset.tasks))
        raise RnnzooError(
            f"{subject.folder}: found no score of a task of {subject.dataset.name}, which has {known}"
        )
    return entries


def _rising_score(table: TargetTable) -> str | None:
    return next((score for score in table.scores if better(score) == "higher"), None)


def _eval_result(subject: Subject, entry: Entry, repo_id: str, made: str) -> dict[str, Any]:
    """An entry in the form of https://huggingface.co/docs/hub/eval-results."""
    seeds = len({result.seed for result in subject.board.results if result.target == entry.target})
    interval = with_interval(entry.estimate)
    counted = f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
    return {
        "dataset": {
            "id": subject.dataset.name,
            "task_id": task_id(entry.target, entry.split),
            "revision": subject.dataset.commit,
        },
        "value": float(f"{entry.estimate.mean:.6g}"),
        "date": made,
        "source": {
            "url": f"https://huggingface.co/{repo_id}/tree/main/{RESULTS_FOLDER}",
            "name": "results of zoo-bench",
        },
        "evaluation_framework": FRAMEWORK,
        "notes": f"{entry.score}, track {subject.track}, {counted}, 95 % interval: {interval}",
    }


def _day(subject: Subject) -> str:
    """The day on which the last of the results was written."""
    paths = [_result_path(subject, result) for result in subject.board.results]
    for path in paths:
        if not path.is_file():
            raise RnnzooError(f"{path}: this file is missing; expected the folder that `zoo-bench run` wrote")
    latest = max(path.stat().st_mtime for path in paths)
    return datetime.datetime.fromtimestamp(latest, datetime.UTC).date().isoformat()


def _result_path(subject: Subject, result: Result) -> Path:
    return result_path(subject.folder, result.encoder, result.track, result.target, result.seed)


def _results(subject: Subject) -> dict[str, bytes]:
    """The results, in places from which `zoo-bench report` reads them."""
    rows = subject.board.rows
    files: dict[Path, ResultsFile] = {subject.folder / ROWS: rows}
    files |= {_result_path(subject, result): result for result in subject.board.results}
    if subject.track == "frozen":
        for seed in sorted({result.seed for result in subject.board.results}):
            path = emulation_path(subject.folder, subject.encoder, seed)
            files[path] = without_folders(read_emulation(path))
    home = f"{RESULTS_FOLDER}/{rows.zoo}/{rows.protocol}"
    return {f"{home}/{path.relative_to(subject.folder).as_posix()}": file_content(files[path]) for path in files}


def _weights(subject: Subject) -> dict[str, bytes]:
    """The trained encoders; none where nothing was trained."""
    if subject.track == "features":
        return {}
    files = {}
    for result in subject.board.results:
        name = f"{WEIGHTS_FOLDER}/{kept_path(subject.folder, result).name}"
        if name not in files:
            files[name] = save(read_encoder(subject.folder, result), metadata={"format": "pt"})
    return files


def _config(subject: Subject) -> dict[str, Any]:
    """What made the encoder, for programs."""
    first = subject.board.results[0]
    rows = subject.board.rows
    return {
        "library_name": FRAMEWORK,
        "encoder": subject.encoder,
        "track": subject.track,
        "protocol": rows.protocol,
        "dataset": subject.dataset.name,
        "dataset_revision": subject.dataset.commit,
        "zoo": rows.zoo,
        "zoo_digest": rows.zoo_digest,
        "preset": first.preset,
        "training": first.training,
        "parameters": first.parameters,
        "embedding_size": first.embedding_size,
        "code": first.key.code,
        "versions": first.key.versions,
        "commands": subject.commands,
    }


def _card(subject: Subject, repo_id: str, entries: list[Entry], files: dict[str, bytes]) -> str:
    first, dataset = subject.board.results[0], subject.dataset
    header = {
        "library_name": FRAMEWORK,
        "tags": ["weight-space-learning", "rnnzoo", "recurrent-neural-networks"],
        "datasets": [dataset.name],
    }
    weights = [name for name in files if name.startswith(f"{WEIGHTS_FOLDER}/")]
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {for_markdown(subject.encoder)} on {for_markdown(dataset.name)}",
        f"An encoder of the weights of recurrent networks, benchmarked by `zoo-bench` on the zoo "
        f"[{for_markdown(dataset.name)}](https://huggingface.co/datasets/{dataset.name}/tree/{dataset.commit}) "
        f"(digest `{for_code(dataset.zoo_digest)}`), protocol `{subject.board.rows.protocol}`, track "
        f"`{subject.track}`: {first.parameters:,} parameters, embeddings of {first.embedding_size} numbers.",
        "## Scores",
        "On unseen tasks, means over seeds with 95 % intervals; higher is better.",
        _table(entries),
        f"## Code\n\n{_code(first)}",
        "The commands that made the results:\n\n```sh\n" + for_code_block("\n".join(subject.commands)) + "\n```",
    ]
    if weights:
        parts.append(
            "## Weights\n\nThe state of the encoder (`torch.nn.Module.state_dict`), a file for each training:\n\n"
            "```python\nfrom huggingface_hub import hf_hub_download\nfrom safetensors.torch import load_file\n\n"
            f'state = load_file(hf_hub_download("{repo_id}", "{weights[0]}"))\n```'
        )
    return "\n\n".join(parts) + "\n"


def _table(entries: list[Entry]) -> str:
    cells = [["target", "score", "split", "value", "95 % interval"]]
    for entry in entries:
        mean, whole = number(entry.estimate.mean), with_interval(entry.estimate)
        cells.append([entry.target, entry.score, entry.split, mean, whole.partition(" ")[2].strip("()")])
    return markdown(cells, left=3)


def _code(result: Result) -> str:
    """Where the code is, its versions, and the files of the encoder itself."""
    versions = for_markdown(", ".join(f"{name} {version}" for name, version in result.key.versions.items()))
    address = code_url()
    where = "" if address is None else f" ({address})"
    files = list(result.key.code)
    own = [*files[:1], *(name for name in files[1:] if not name.startswith("rnnzoo/"))]
    lines = [f"- `{for_code(name)}`: {result.key.code[name]}" for name in own]
    said = (
        f"Made with {versions}{where}. The encoder's own source, with the first 16 digits of the SHA-256 of each "
        f"file (`{CONFIG}` has those of all {len(files)} files that decide the results):"
    )
    return "\n".join([said, "", *lines])
