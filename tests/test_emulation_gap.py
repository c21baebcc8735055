"""`python -m benchmarks.emulation_gap`: losses on RNNs and on items that training has seen, and has not."""

import numpy as np
import pytest

from benchmarks import emulation_gap, paper_table
from rnnzoo.loaders.benchmark.protocol import partition
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.loaded_zoo import LoadedZoo


@pytest.fixture(scope="module")
def trained(digits_zoo, trained_as_in_paper):
    return trained_as_in_paper(digits_zoo, "rotation")


def test_the_items_are_those_of_the_nearest_angle(digits_zoo):
    loaded = LoadedZoo(digits_zoo)
    rows = partition(loaded, "paper")
    angles = loaded.column("rotation_degrees")
    found = emulation_gap.nearest(loaded, rows.validation, rows.train)
    assert set(found) <= set(rows.train)
    distances = np.abs(angles[rows.validation][:, None] - angles[rows.train][None])
    assert np.abs(angles[found] - angles[rows.validation]) == pytest.approx(distances.min(axis=1))
    assert list(angles[emulation_gap.nearest(loaded, rows.train, rows.train)]) == list(angles[rows.train])


def test_on_their_own_items_losses_are_those_of_the_table(trained, digits_zoo):
    loaded = LoadedZoo(digits_zoo)
    ((_, folder, board),) = paper_table.trainings_of_paper(trained, [str(digits_zoo)])
    (training,) = board.emulations
    emulation = paper_table.trained_emulation(loaded, training, folder)
    found = emulation_gap.gaps(loaded, emulation, models=10**6, rollouts=3)
    table = paper_table.validation_losses(loaded, training, folder)
    assert found["validation", "validation"] == pytest.approx(table["published_reverse_kl"])
    assert len(set(found.values())) == 4


def test_the_table_of_a_board(trained, digits_zoo, capsys):
    emulation_gap.main([str(trained), "--zoo", str(digits_zoo), "--rnns", "3", "--items", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert read_results(trained)[0].rows.zoo_digest in lines[0]
    assert [line.split(" | ")[1] for line in lines if "flat_mlp" in line] == ["train", "validation"]
    emulation_gap.main([str(trained), "--zoo", str(digits_zoo), "--encoder", "oracle"])
    assert "flat_mlp" not in capsys.readouterr().out


def test_rnns_that_write_their_items_have_no_such_table(language_zoo, trained_as_in_paper):
    results = trained_as_in_paper(language_zoo, "offsets")
    with pytest.raises(SystemExit, match="formal_languages: expected a zoo whose items are given"):
        emulation_gap.main([str(results), "--zoo", str(language_zoo)])
