"""A report for programs, papers and narrow terminals."""

import csv
import io
import json

import pytest
from synthetic_results import write_results

from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.loaders.benchmark.report.text import aligned
from rnnzoo.zoo_builder.errors import ParameterError

FEW = ("noninteractive_probing", "greedy_decode")
pytestmark = pytest.mark.usefixtures("without_page")


@pytest.fixture(scope="module")
def in_form(tmp_path_factory):
    """A function: the report of made-up results in a form."""
    folder = tmp_path_factory.mktemp("report")
    write_results(folder / "results", "formal_languages", seeds=2, encoders=FEW)
    return lambda form: make_report(folder / "results", folder, baselines=False, form=form)


def test_csv_and_json_have_the_same_rows(in_form):
    rows = json.loads(in_form("json"))
    assert {row["encoder"] for row in rows} == set(FEW)
    assert {(row["zoo"], row["protocol"]) for row in rows} == {("formal_languages", "strict")}
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows if row["low"] is not None)
    texts = list(csv.DictReader(io.StringIO(in_form("csv"))))
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows] == texts


def test_latex_has_a_row_an_encoder_and_escapes_names(in_form):
    text = in_form("latex")
    tabulars = text.split(r"\begin{tabular}")[1:]
    assert text.count(r"\end{tabular}") == len(tabulars) > 1
    for tabular in tabulars:
        lines = [line for line in tabular.splitlines() if line.endswith(r"\\")]
        names = [line.split(" & ")[0] for line in lines]
        assert {*names[1:-2]} == {name.replace("_", r"\_") for name in FEW}
        assert names[-2:] == ["ceiling", "chance"]
        assert len({line.count(" & ") for line in lines}) == 1
    assert "↑" not in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_terminal_and_lose_nothing(width):
    cells = [["encoder", "track", *(f"score {n}" for n in range(12))], ["flat_mlp", "frozen", *"abcdefghijkl"]]
    lines = aligned(cells, left=2, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert {word for line in lines for word in line.split()} >= {"flat_mlp", "frozen", *"abcdefghijkl"}
    assert aligned(cells, left=2, width=None) == aligned(cells, left=2, width=1000)


def test_an_unknown_form(in_form):
    with pytest.raises(ParameterError, match="form: found 'pdf', expected one of table, csv, latex, json"):
        in_form("pdf")
