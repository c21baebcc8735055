"""The command `zoo-bench`: how much encoders see in weights.

Every command imports what it works with when it runs: torch takes seconds, which `list`, `--help` and a mistyped
word should not.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from rnnzoo import command_line
from rnnzoo.command_line import (
    MOST_PROCESSES,
    JsonOption,
    MnistOption,
    SettingsOption,
    VersionOption,
    draw_without_a_screen,
    make_app,
    say,
    say_json,
)
from rnnzoo.ray_options import ClusterCommand, GpusOption, RayOption

if TYPE_CHECKING:
    from rnnzoo.loaders.benchmark.request import Options
    from rnnzoo.zoo_builder.tasks.target import Target

app = make_app("Benchmark encoders of RNN weights.")


@app.callback()
def _main(version: VersionOption = False) -> None:
    pass


class RunCommand(ClusterCommand):
    """A command whose help ends with the fields of a training that can be set."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from rnnzoo.loaders.training_config import PRESETS
        from rnnzoo.settings import describe_fields

        for track, presets in PRESETS.items():
            formatter.write(f"\nFields for --set, and their values in the presets of the track {track}:\n")
            formatter.write(describe_fields(presets) + "\n")


EncoderOption = Annotated[
    str,
    typer.Option(
        help="A name of `zoo-bench list`, module:Class or module.py:Class of your own; options as name(probes=4)."
    ),
]
TracksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        help="features, frozen or supervised; again for more; default: features if nothing is to be trained, else "
        "frozen.",
    ),
]
TargetsOption = Annotated[
    list[str] | None,
    typer.Option("--target", help="What to predict: a target, or COLUMN:KIND; again for more; default: all."),
]
PresetOption = Annotated[str, typer.Option(help="Training: quick (minutes on 2 cores), or paper: as published.")]
FreshSeedOption = Annotated[
    int | None,
    typer.Option(min=0, metavar="SEED", help="Also score on RNNs trained now, from this seed, beside --out."),
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Remove results of this encoder and track that other code, data or settings made."
    ),
]


@app.command(cls=RunCommand)
def run(
    zoo: Annotated[str, typer.Option(metavar="ZOO", help="Folder of a zoo, or org/name on the hub.")],
    encoder: EncoderOption,
    tracks: TracksOption = None,
    targets: TargetsOption = None,
    protocol: Annotated[str, typer.Option(help="strict, or paper for the paper's splits.")] = "strict",
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    preset: PresetOption = "quick",
    settings: SettingsOption = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.")] = Path("results"),
    workers: Annotated[int, typer.Option(min=1, max=MOST_PROCESSES, help="Processes that share the seeds.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_PROCESSES, help="CPU threads of each; default: its share of the cores."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    ray: RayOption = None,
    gpus_per_task: GpusOption = None,
    fresh_seed: FreshSeedOption = None,
    mnist: MnistOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Train or fit an encoder, and score it.

    It sees a zoo's training tasks, and is scored on unseen ones. The same command goes on after an interruption,
    and does what more targets or seeds add.
    """
    from rnnzoo.loaders.encoders.names import location_of
    from rnnzoo.loaders.training_config import TrainingConfig
    from rnnzoo.settings import read_settings

    location_of(encoder)  # what is mistyped is told at once, before torch is imported
    changed = read_settings(settings or [], TrainingConfig)
    options: Options = {
        "protocol": protocol,
        "preset": preset,
        "first_seed": first_seed,
        "workers": workers,
        "threads": threads,
        "device": device,
        "ray": ray,
        "gpus_per_task": gpus_per_task,
        "fresh_seed": fresh_seed,
        "items_folder": mnist,
        "overwrite": overwrite,
        "command": shlex.join(["zoo-bench", *sys.argv[1:]]),
    }
    from rnnzoo.loaders.benchmark.evaluation import evaluate

    say(evaluate(encoder, zoo, tracks, targets, seeds, changed, out, **options))
    say(f"\nresults: {out}; `zoo-bench report {shlex.quote(str(out))}` shows them beside the baselines")


@app.command()
def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that `zoo-bench run` wrote.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where report.md and report.html go; default: RESULTS.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="The encoder that differences are taken to; default: a probing baseline.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Add the committed results on the same zoo.")
    ] = True,
    form: Annotated[
        str, typer.Option("--format", help="Of what is printed: table, csv, latex (booktabs) or json.")
    ] = "table",
) -> None:
    """Print results in tables with intervals.

    They are also written as Markdown and as one self-contained page.
    """
    draw_without_a_screen()
    from rnnzoo.loaders.benchmark.report import make_report

    folder = out or results
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    say(make_report(results, folder, against, baselines, form=form, width=width))
    say(f"\nreport: {folder / 'report.html'} and {folder / 'report.md'}", err=form != "table")


@app.command()
def push(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that `zoo-bench run` wrote.")],
    repository: Annotated[str, typer.Argument(metavar="ORG/MODEL", help="Model repository; made if needed.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/NAME[@REVISION]",
            help="The zoo's data set on the hub; default: the one that was benchmarked.",
        ),
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="Which encoder, where RESULTS has several.")] = None,
    track: Annotated[str | None, typer.Option(help="Which track, where it was run on several.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete or overwrite what is there and no encoder of zoo-bench.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be uploaded.")] = False,
) -> None:
    """Publish an encoder and its scores on the hub.

    They become a model repository, and the leaderboard of the zoo's data set shows the scores. The token is that
    of `hf auth login` or HF_TOKEN.
    """
    from rnnzoo.loaders.model_repository import push_results

    plan = push_results(results, repository, dataset, encoder, track, private, replace, dry_run, say)
    if dry_run:
        say(f"{plan} to {repository}")
    else:
        say(f"finished: https://huggingface.co/{repository}")


@app.command()
def commit(
    results: Annotated[
        Path | None, typer.Argument(metavar="RESULTS", help="Folder that `zoo-bench run` wrote; default: none.")
    ] = None,
    cards: Annotated[
        Path,
        typer.Option(
            exists=True, file_okay=False, metavar="DIR", help="Folder with a folder for each zoo's card."
        ),
    ] = Path("dataset_cards"),
) -> None:
    """Put results beside the zoos' cards, as baselines.

    A file an encoder and track goes to DIR/<zoo>/<preset>/results. Other seeds and targets of one that is there
    stay if the same code, data and settings made them; else it is replaced. The tables on the card, baselines.md,
    are written anew, and so are the pictures of each protocol, ranking-*.png and emulation-*.png.
    """
    from rnnzoo.loaders.benchmark.report.baselines import commit_results, write_summaries

    for path in [*([] if results is None else commit_results(results, cards)), *write_summaries(cards)]:
        say(path)


@app.command("list")
def list_names(json: JsonOption = False) -> None:
    """List encoders, targets, tracks and presets."""
    from rnnzoo.loaders.encoders import PUBLISHED_FORMS
    from rnnzoo.loaders.encoders.names import describe_encoder, encoder_names
    from rnnzoo.loaders.training_config import PRESETS, TRACKS
    from rnnzoo.zoo_builder.tasks import installed_families
    from rnnzoo.zoo_builder.tasks.target import COMMON_TARGETS, TargetKind

    encoders = {name: describe_encoder(location) for name, location in encoder_names().items()}
    if json:
        say_json(
            {
                "encoders": {
                    name: {
                        "group": said.group,
                        "of_the_paper": said.published,
                        "published_form": name in PUBLISHED_FORMS,
                        "summary": said.summary,
                    }
                    for name, said in encoders.items()
                },
                "targets": {
                    "every zoo": [target.name for target in COMMON_TARGETS],
                    **{family.name: [target.name for target in family.targets] for family in installed_families()},
                },
                "tracks": list(TRACKS),
                "presets": {
                    track: {name: config.to_dict() for name, config in presets.items()}
                    for track, presets in PRESETS.items()
                },
            }
        )
        return
    for name, said in encoders.items():
        forms = ', also with form="published"' if name in PUBLISHED_FORMS else ""
        say(f"{name:24}{said.group}{', of the paper' if said.published else ''}{forms}")
        say(fill(said.summary, 80, initial_indent="    ", subsequent_indent="    "))
    common = f"targets of every zoo in which they vary: {_names(COMMON_TARGETS)}"
    say("\n" + fill(common, 80, subsequent_indent="    "))
    say("    and any column of its metadata as COLUMN or COLUMN:KIND;")
    say(f"    a kind is one of {', '.join(get_args(TargetKind))}")
    for family in installed_families():
        say(fill(f"targets of {family.name}: {_names(family.targets)}", 80, subsequent_indent="    "))
    say(f"tracks:  {', '.join(TRACKS)}")
    for track, presets in PRESETS.items():
        for name, config in presets.items():
            fields = " ".join(f"{field}={value}" for field, value in config.to_dict().items())
            say(f"\npreset {name} of {track}:")
            say(fill(fields, 80, initial_indent="    ", subsequent_indent="    "))


def _names(targets: Sequence[Target]) -> str:
    return ", ".join(target.name for target in targets)


def main() -> None:
    """Run the command line; bad input exits with 2, an interruption with 130."""
    command_line.run(app, "zoo-bench")
