"""Build, verify, release, load and benchmark with every cell, and with one that the product does not have."""

import re

import numpy as np
import pytest
import torch
from toy_cell import RELU

from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.benchmark.report.page import LeaderboardTables
from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.overview import summarize
from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.published.exporter import export_zoo
from rnnzoo.zoo_builder.release import release_zoo, render_card
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, rnn_forward
from rnnzoo.zoo_builder.rnn.cells import LSTM
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo
from rnnzoo.zoo_builder.zoos import resolve_config

pytestmark = pytest.mark.usefixtures("short_readouts")

TINY = {
    "runs": 12,
    "steps": 6,
    "checkpoints": (0, 6),
    "batch_size": 4,
    "evaluation_items": 10,
    "sampled_strings": 10,
    "rollouts": 4,
    "hidden_size": 5,
    "num_layers": 1,
}
SHORT = (("steps", 2), ("validate_every", 2), ("models", 4), ("emulator_hidden", 4), ("emulator_layers", 1))
TRACKS = (
    ("invariant_statistics", "features", ()),
    ("hidden_probing(probes=1, length=4)", "frozen", SHORT),
    ("graph_network(channels=4, edge_channels=4, said=4)", "supervised", SHORT[:3]),
)


@pytest.fixture(scope="module", params=[*CELLS, RELU.name])
def cell(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CELLS, RELU.name, RELU)
        yield CELLS[request.param]


@pytest.fixture(scope="module")
def zoo(cell, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoos") / cell.name
    config = resolve_config("formal_languages", "smoke", TINY | {"cell": cell.name})
    build_zoo(config, folder, TorchKernel(), Unwatched())
    return folder


def test_it_is_sound_and_names_its_cell(zoo, cell):
    assert all(check.passed for check in verify_zoo(zoo, TorchKernel()))
    assert f"1-layer {cell.name} with 5 units" in summarize(zoo)


def test_it_loads(zoo, cell):
    opened, rows = Zoo(zoo), load_zoo(zoo, "train")
    assert opened.spec == RNNSpec(6, 5, 6, 1, cell.name)
    assert {row["cell"] for row in rows} == {cell.name}
    recurrent = f"{cell.name}.weight_hh_l0"
    first = rows[0]["checkpoint_id"]
    assert torch.equal(torch.as_tensor(rows[0][recurrent]), opened.batch([first])[recurrent][0])
    inputs = torch.randn(2, 7, 6)
    logits, _ = opened.model(first)(inputs)
    torch.testing.assert_close(logits, rnn_forward(opened.batch([first]), inputs)[0][0])


def test_its_card_names_the_cell_and_makes_it_in_torch(zoo, cell):
    card = render_card(zoo)
    assert f"12 {cell.title}s in training" in card
    assert f"1-layer {cell.title} with 5 hidden" in card
    assert f"--cell {cell.name}" in card or cell is LSTM
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "\nrnn = " in block)
    names: dict[str, object] = {"sizes": (6, 5, 1)}
    exec("\n".join(re.findall(r"^(?:import|from|rnn =) .*$", block, re.MULTILINE)), names)
    rnn = names["rnn"]
    expected = Zoo(zoo).model(3)
    rnn.load_state_dict(expected.get_submodule(cell.name).state_dict())
    inputs = torch.randn(2, 7, 6)
    assert torch.equal(expected.head(rnn(inputs)[0]), expected(inputs)[0])


def test_it_is_released(zoo, cell, tmp_path):
    if cell is not RELU:
        pytest.skip("a release takes seconds, and has nothing else of a cell than its card")
    release_zoo(zoo, tmp_path / "release", TorchKernel())
    assert Zoo(tmp_path / "release").spec.cell == cell.name


def test_encoders_of_all_tracks_are_benchmarked_on_it(zoo, cell, tmp_path):
    for encoder, track, training in TRACKS:
        request = Request(
            zoo=str(zoo), encoder=encoder, out=tmp_path, tracks=(track,), targets=("offsets",), seeds=1,
            overrides=training,
        )  # fmt: skip
        run_benchmark(request)
    (board,) = read_results(tmp_path)
    assert {(result.encoder, result.track) for result in board.results} == {entry[:2] for entry in TRACKS}
    assert ("RNNs", f"1-layer {cell.name} with 5 units") in LeaderboardTables.of(board, None).facts()


def test_only_lstms_become_published_arrays(zoo, cell, tmp_path):
    if cell is LSTM:
        export_zoo(zoo, tmp_path / "arrays")
        assert np.load(tmp_path / "arrays/parameters.npy").shape == (24, Zoo(zoo).spec.num_parameters)
        return
    with pytest.raises(
        RnnzooError, match=f"cell: found '{cell.name}', expected 'lstm': the published arrays hold"
    ):
        export_zoo(zoo, tmp_path / "arrays")
