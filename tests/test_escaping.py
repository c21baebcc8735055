"""Whatever a text is, it comes out where it goes as that text, and does nothing else."""

import html
import unicodedata

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from rnnzoo.zoo_builder import escaping

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
    (code,) = (part for part in [shown.partition("<code>")[2].partition("</code>")[0]])
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
