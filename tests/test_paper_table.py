"""`python -m benchmarks.paper_table`: losses beside the paper's, and what was done otherwise."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic_results import make_emulation, make_rows, write_results
from torch.nn import functional

from benchmarks import paper_table
from rnnzoo.loaders.benchmark.protocol import partition
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.emulation import EncoderEmulator, make_emulator
from rnnzoo.loaders.encoders.base import load_encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training_config import PRESETS, TrainingConfig

PAPER = PRESETS["frozen"]["paper"].to_dict()
FORM = 'noninteractive_probing(form="published")'


@pytest.fixture
def rows():
    """Of a zoo as large as the paper's."""
    made = make_rows("formal_languages")
    return made.model_copy(update={"zoo_config": {**made.zoo_config, **paper_table.ZOO}, "protocol": "paper"})


def emulation(rows, name, seed=0, **training):
    made = make_emulation(rows, name.partition("(form")[0], seed)
    return made.model_copy(update={"encoder": name, "training": {**PAPER, **training}})


def test_a_loss_stands_beside_that_of_the_same_encoder(rows):
    seeds = [emulation(rows, FORM, seed) for seed in range(3)]
    mine = emulation(rows, "my_encoder:Mine")
    measured = [dict(zip(paper_table.MEASURED, (loss, 2.0, 3.0), strict=True)) for loss in (0.5, 0.1, 0.2, 0.4)]
    lines = paper_table.table(rows, [mine, *seeds], measured).splitlines()
    shown = [line.split(" | ") for line in lines if line.startswith("| `")]
    assert [cells[:2] for cells in shown] == [[f"| `{FORM}`", ".023 (.019–.029)"], ["| `my_encoder:Mine`", ""]]
    assert shown[0][2:4] == ["0.2333", "0.1000 to 0.4000"]
    assert shown[0][4:7] == ["2.0000", "3.0000", "3"]
    assert shown[1][6] == "1"
    assert rows.zoo_digest in lines[0]
    assert "- seeds: 1 or 3 of an encoder, in the paper 15" in lines
    others = [name for name in paper_table.ENCODERS if name != "noninteractive_probing"]
    assert lines[-5:] == [f"- not trained here: `{name}`" for name in others]


@pytest.mark.parametrize(
    ("zoo", "encoder", "training", "found"),
    [
        ({}, FORM, {}, []),
        ({"runs": 256}, FORM, {}, ["- zoo: runs is 256, in the paper 1000"]),
        ({}, FORM, {"steps": 9}, ["- training: steps is 9, in the paper 100000"]),
        ({}, "noninteractive_probing", {}, ["- form: `noninteractive_probing` is our form"]),
    ],
)
def test_every_difference_is_named(rows, zoo, encoder, training, found):
    rows = rows.model_copy(update={"zoo_config": {**rows.zoo_config, **zoo}})
    lines = paper_table.differences(rows, [emulation(rows, encoder, **training)] * 2)
    assert [line for line in lines if "not trained" not in line] == found


def test_a_difference_of_some_names_them(rows):
    some = [emulation(rows, FORM, steps=9), emulation(rows, "my_encoder:Mine")]
    assert f"- training: steps is 9, in the paper 100000 (`{FORM}`)" in paper_table.differences(rows, some)


@pytest.fixture(scope="module")
def trained(language_zoo, trained_as_in_paper):
    return trained_as_in_paper(language_zoo, "offsets")


def test_losses_are_those_of_the_published_program(trained, language_zoo):
    (board,) = read_results(trained)
    (training,) = board.emulations
    loaded = LoadedZoo(language_zoo)
    folder = trained / "formal_languages" / "paper"
    found = paper_table.validation_losses(loaded, training, folder)
    state = load_file(folder / "flat_mlp" / "emulation" / "seed0.safetensors")
    encoder = load_encoder("flat_mlp", loaded.population)
    emulation = EncoderEmulator(encoder, make_emulator(loaded.zoo.spec, TrainingConfig(**training.training), 16))
    emulation.load_state_dict(state)
    reverse, forward = [], []
    for row in partition(loaded, "paper").validation:
        weights = loaded.weights(np.array([row]))
        inputs = loaded.zoo.encoding.inputs(loaded.rollouts[loaded.rollout_group[row], :3])
        with torch.no_grad():
            original = loaded.zoo.model(int(row))(inputs)[0].log_softmax(dim=-1)
            emulated = emulation.eval()(weights, inputs[None])[0]
        reverse.append(functional.kl_div(original, emulated, log_target=True, reduction="none").mean())
        forward.append(functional.kl_div(emulated, original, log_target=True, reduction="none").mean())
    expected = [float(torch.stack(losses).mean()) for losses in (reverse, forward)]
    assert list(found.values()) == pytest.approx([*expected, training.losses["validation"]], rel=1e-4)


def test_the_table_is_printed_for_the_zoo_that_results_are_of(trained, language_zoo, digits_zoo, capsys):
    for results in (trained, trained / "formal_languages"):
        paper_table.main([str(results), "--zoo", str(digits_zoo), "--zoo", str(language_zoo)])
        assert "| `flat_mlp` | .045 (.045–.046) | 0." in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--zoo: found .*, expected .*, which results are of"):
        paper_table.main([str(trained), "--zoo", str(digits_zoo)])


def test_other_protocols_have_no_such_table(tmp_path):
    write_results(tmp_path, "formal_languages", seeds=1, encoders=("flat_mlp",))
    with pytest.raises(SystemExit, match="no training by emulation under the protocol paper"):
        paper_table.main([str(tmp_path), "--zoo", "nowhere"])
