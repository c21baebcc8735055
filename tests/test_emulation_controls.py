"""Controls of emulation, and the scale that they give to the losses of encoders."""

import pytest
import torch
from synthetic_results import make_emulation, make_rows

from rnnzoo.loaders.benchmark.report.emulation_scale import FLOOR, MISSING, TOO_SHORT
from rnnzoo.loaders.benchmark.report.tables import emulation_table
from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.files import read_emulation, read_result, read_rows
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.encoders.base import check_encoder, declared, load_encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, init_parameters, unflatten_weights
from rnnzoo.zoo_builder.tasks import FAMILIES, find_family

pytestmark = pytest.mark.usefixtures("short_readouts")

SHORT = (("steps", 4), ("validate_every", 2), ("models", 8), ("emulator_hidden", 8))
ROWS = make_rows("formal_languages")


@pytest.mark.parametrize("zoo", ["language_zoo", "digits_zoo"])
@pytest.mark.parametrize(("name", "of_step", "of_task"), [("constant", 0, 0), ("step", 1, 0), ("oracle", 1, 1)])
def test_a_control_tells_apart_what_it_is_given_and_nothing_else(zoo, name, of_step, of_task, request):
    loaded = LoadedZoo(request.getfixturevalue(zoo))
    step, task = loaded.column("step"), loaded.column("task_id")
    others = range(1, len(loaded))
    other_step = next(row for row in others if task[row] == task[0] and step[row] != step[0])
    other_task = next(row for row in others if task[row] != task[0] and step[row] == step[0])
    encoder = load_encoder(name, loaded.population)
    rows = torch.tensor([0, other_step, other_task])
    columns = loaded.columns(declared(encoder, "columns"), rows)
    embedded = encoder(loaded.weights(rows), **columns)
    assert torch.equal(embedded, encoder(loaded.weights(rows.flip(0)), **columns)), "it reads weights"
    differs = (embedded[1:] - embedded[0]).abs().amax(dim=1) > 1e-6
    assert differs.tolist() == [bool(of_step), bool(of_task)]


@pytest.mark.parametrize("zoo", ["language_zoo", "digits_zoo"])
def test_an_oracle_is_trained_by_emulation_and_no_other_way(zoo, request, tmp_path):
    folder = str(request.getfixturevalue(zoo))
    asked = Request(folder, "oracle", tmp_path, targets=("step",), seeds=1, overrides=SHORT)
    (path,) = run_benchmark(asked)
    board = path.parents[2]
    found, rows = read_emulation(board / "oracle" / "emulation" / "seed0.json"), read_rows(board)
    assert read_result(path).group == "control"
    for split, losses in found.row_losses.items():
        assert len(losses) == len(rows.splits[split].step)
        assert sum(losses) / len(losses) == pytest.approx(found.losses[split], rel=1e-5)
    with pytest.raises(RnnzooError, match="tracks: found 'supervised', but oracle reads metadata"):
        run_benchmark(Request(folder, "oracle", tmp_path, tracks=("supervised",)))


@pytest.mark.parametrize("family", [find_family(name) for name in FAMILIES], ids=FAMILIES)
def test_an_oracle_reads_every_number_that_says_a_task(family):
    spec = RNNSpec(family.encoding.input_size, 4, family.output_size)
    population = Population(spec, family.encoding, 9, family=family)
    oracle = load_encoder("oracle", population)
    assert check_encoder(oracle, population) == 16
    weights = unflatten_weights(spec, init_parameters(spec, range(2)))
    entries = {name: 3 if name in ("offsets", "secret") else 1 for name in oracle.columns if name != "step"}
    for name, count in entries.items():
        for entry in range(count):
            task = {column: torch.ones(2, number) for column, number in entries.items()}
            task[name][1, entry] = 0
            first, second = oracle(weights, step=torch.zeros(2), **task)
            assert (first - second).abs().max() > 1e-5, (name, entry)


def board_of(losses, steps=None):
    """A leaderboard of trainings by emulation with these losses on ood. steps: encoder -> other than 600."""
    runs = []
    for encoder, loss in losses.items():
        run = make_emulation(ROWS, "flat_mlp", 0)
        update = {"encoder": encoder, "losses": {"validation": loss, "test": loss / 2, "ood": loss}}
        update["training"] = {"steps": (steps or {}).get(encoder, 600)}
        runs.append(run.model_copy(update=update))
    return Leaderboard(ROWS, (), tuple(runs))


SCALE = {"constant": 0.10, "step": 0.08, "oracle": 0.03}


@pytest.mark.parametrize(
    ("losses", "note", "order"),
    [
        (SCALE | {"good": 0.04, "blind": 0.079}, None, ["oracle", "good", "blind", "step", "constant"]),
        (SCALE | {"good": 0.077, "blind": 0.079}, FLOOR, ["blind", "constant", "good", "oracle", "step"]),
        (SCALE, None, ["oracle", "step", "constant"]),
        (SCALE | {"oracle": 0.098, "good": 0.05}, TOO_SHORT, ["constant", "good", "oracle", "step"]),
        ({"good": 0.05, "blind": 0.07}, f"{MISSING}`constant` and `oracle`.", ["good", "blind"]),
        ({"good": 0.05, "blind": 0.07, "constant": 0.1}, f"{MISSING}`oracle`.", ["good", "blind", "constant"]),
    ],
)
def test_losses_at_a_floor_are_no_ranking(losses, note, order):
    table = emulation_table(board_of(losses))
    assert table.note == note
    assert [line.encoder for line in table.lines] == order


def test_a_loss_is_placed_between_the_controls_of_its_own_settings():
    lines = {line.encoder: line for line in emulation_table(board_of(SCALE | {"mine": 0.065})).lines}
    shares = {name: line.shares["ood"].mean for name, line in lines.items()}
    assert shares == pytest.approx({"constant": 0, "step": 2 / 7, "oracle": 1, "mine": 0.5})
    assert lines["mine"].shares["test"].mean == pytest.approx(0.5)
    longer = emulation_table(board_of(SCALE | {"mine": 0.065}, {"mine": 6000}))
    assert longer.note == f"{MISSING}`constant` and `oracle`."
    assert all(line.shares["ood"] is None for line in longer.lines if line.encoder == "mine")


def test_losses_by_step_are_means_over_the_checkpoints_of_a_step():
    run = make_emulation(ROWS, "flat_mlp", 0)
    losses = {split: [step / 1000 for step in rows.step] for split, rows in ROWS.splits.items()}
    table = emulation_table(Leaderboard(ROWS, (), (run.model_copy(update={"row_losses": losses}),)))
    for split, rows in ROWS.splits.items():
        found = {step: loss.mean for step, loss in table.lines[0].by_step[split].items()}
        assert found == pytest.approx({step: step / 1000 for step in set(rows.step)})
