"""Whatever a text is, it comes out where it goes as that text, and does nothing else."""

import html
import json
import re
import unicodedata
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_results
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from synthetic_results import write_results

from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.zoo_builder import escaping
from rnnzoo.zoo_builder.release import render_card
from rnnzoo.zoo_builder.storage.manifest import read_manifest, write_manifest

HOSTILE = (
    "<script>alert(1)</script>",
    "\n# heading\n\n- item",
    "a\n\n```\ncode",
    "`code` **bold** _a_ ~~b~~ [link](javascript:x) ![i](x)",
    "\x1b[2J\x1b]0;title\x07\x9b31m",
    "\u202egnp.exe\u2066",
    "$\\foo$ and $x$",
    "$\\$",
    "| a | b |\\",
    "--- \n key: value # no: comment",
    "'quoted' \"twice\" {% raw %} {{ 7 * 7 }}",
    "\ud800",
    "x" * 5000,
    "",
)
texts = (
    st.text(st.characters(), max_size=60)
    | st.sampled_from(HOSTILE)
    | st.text("`*_[]()<>&|$\\\\~#!-\n ", max_size=30)
)


@pytest.fixture(scope="module")
def markdown():
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def has_shape(text: str) -> bool:
    return all(letter in "\n\t" or unicodedata.category(letter)[0] != "C" for letter in text)


@given(texts)
def test_nothing_commands_a_terminal(text):
    shown = escaping.for_terminal(text)
    assert has_shape(shown)
    assert shown.count("\n") == text.count("\n")
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["plain", "größer, 日本語, ½ – “x” ↑†", "two\nlines\tand a tab"])
def test_what_has_a_shape_is_left_as_it_is(text):
    assert escaping.for_terminal(text) == text


@given(texts)
def test_markdown_shows_the_text(markdown, text):
    shown = markdown.render(f"said: {escaping.for_markdown(text)}.")
    assert (
        shown == f"<p>said: {html.escape(escaping.one_line(text), quote=False).replace(chr(34), '&quot;')}.</p>\n"
    )


@given(texts)
def test_code_shows_the_text_but_for_backticks(markdown, text):
    shown = markdown.render(f"name `{escaping.for_code(text)}` ends")
    code = shown.partition("<code>")[2].partition("</code>")[0]
    assert shown == f"<p>name <code>{code}</code> ends</p>\n"
    assert html.unescape(code).strip() == escaping.one_line(text).replace("`", "'").strip()


@given(texts)
def test_a_block_of_code_ends_where_it_should(markdown, text):
    shown = markdown.render(f"```json\n{escaping.for_code_block(text)}\n```\n\nafter\n")
    assert shown.endswith("</code></pre>\n<p>after</p>\n")
    assert shown.count("<p>") == 1


@given(st.lists(texts, min_size=2, max_size=2))
def test_a_row_of_a_table_has_its_cells(markdown, cells):
    row = escaping.table_row(map(escaping.for_markdown, cells))
    shown = markdown.render(f"| a | b |\n|---|---|\n{row}\n")
    assert shown.count("<td>") == 2
    found = [part.partition("</td>")[0] for part in shown.split("<td>")[1:]]
    assert [html.unescape(cell) for cell in found] == [escaping.one_line(cell).strip() for cell in cells]


@given(texts)
@example("see `name` and <b>`</b>`")
def test_sentences_with_code_hold_no_tags(markdown, text):
    shown = markdown.render(f"said: {escaping.with_code(text)}.")
    assert shown.replace("<code>", "").replace("</code>", "").count("<") == 2


@given(texts)
def test_html_shows_the_text(text):
    shown = escaping.for_html(text)
    assert not set("<>\"'") & set(shown)
    assert html.unescape(shown) == escaping.visible(text)
    assert escaping.for_html(shown) == shown


@given(texts)
def test_yaml_reads_the_text(text):
    loaded = yaml.safe_load(f"title: {escaping.for_yaml(text)}\nother: 1\n")
    assert loaded == {"title": escaping.one_line(text), "other": 1}


@given(texts)
def test_figures_show_the_text(text):
    label = Figure().text(0, 0, escaping.for_figure(text))
    shown, is_formula = label._preprocess_math(label.get_text())
    assert (shown, is_formula) == (escaping.one_line(text, escaping.LONGEST_LABEL), False)


def test_long_texts_are_cut():
    assert len(escaping.for_figure("x" * 5000)) == escaping.LONGEST_LABEL
    assert len(escaping.for_markdown("x" * 5000)) == escaping.LONGEST_LINE


NAME = "mine:<script>alert(1)</script>$\\foo$ $x$ \x1b[2J\n# heading | `code`" + "x" * 100


def test_a_report_shows_names_and_nothing_else(tmp_path, monkeypatch, markdown):
    monkeypatch.setitem(synthetic_results.SKILLS, NAME, ("user", "frozen", 0.5))
    write_results(tmp_path, "formal_languages", encoders=("flat_mlp", NAME))
    for path in tmp_path.rglob("*.json"):
        values = json.loads(path.read_bytes())
        values |= {name: NAME for name in ("readout", "command") if name in values}
        if "zoo_config" in values:
            values["zoo_config"] |= {"preset": NAME, "cell": NAME}
        path.write_text(json.dumps(values))
    shown = escaping.for_terminal(make_report(tmp_path, tmp_path, baselines=False))
    assert "\x1b" not in shown
    text, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert "\x1b" not in text + page
    assert "<script>alert" not in page
    tokens = markdown.parse(text)
    inner = [child for token in tokens for child in token.children or ()]
    assert not {"html_block", "html_inline"} & {token.type for token in [*tokens, *inner]}
    assert "heading" not in {
        inline.content[:7] for heading, inline in pairwise(tokens) if heading.type == "heading_open"
    }


def test_a_card_shows_rules_descriptions_and_versions(copied, markdown):
    splits = json.loads((copied / "splits.json").read_bytes())
    (copied / "splits.json").write_text(json.dumps(splits | {"rule": NAME}))
    manifest = read_manifest(copied)
    write_manifest(copied, manifest.model_copy(update={"built_with": {NAME: [NAME]}}))
    for path in copied.glob("metadata/*"):
        table = pq.read_table(path)
        fields = [field.with_metadata({"description": NAME}) for field in table.schema]
        pq.write_table(table.cast(pa.schema(fields)).append_column(NAME, table["step"]), path)
    text = render_card(copied)
    assert "\x1b" not in text
    body = text.partition("\n---\n")[2]
    tokens = markdown.parse(body)
    inner = [child for token in tokens for child in token.children or ()]
    assert not {"html_block", "html_inline"} & {token.type for token in [*tokens, *inner]}
    headings = {inline.content for heading, inline in pairwise(tokens) if heading.type == "heading_open"}
    assert not any("heading" in heading for heading in headings)
    columns = body.partition("## Columns")[2].partition("The config")[0].strip().splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in columns} == {5}


def test_a_command_prints_no_control_sequence(tmp_path, builder):
    _, _, err = builder("info", tmp_path / "\x1b[31mred")
    assert "\\x1b[31mred" in err
