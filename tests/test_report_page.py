"""The page of a report, in a real browser: nothing is cut off, tables sort, one mark an encoder."""

import itertools
import re

import numpy as np
import pytest

from rnnzoo.loaders.benchmark.report.marks import COLOURS, SHAPES, marks_of

GROUNDS = ("#ffffff", "#1b2026")
"""The ground of tables and pictures, light and dark."""
CONES = {
    "all": np.eye(3),
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Linear RGB as people see it who lack a kind of cone (Machado, Oliveira & Fernandes 2009, severity 1)."""
LAB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    """A CSS colour as linear RGB, [3]."""
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB [3] as CIE L*a*b* of 1976, [3]."""
    x, y, z = np.cbrt(LAB @ rgb / LAB.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("cones", CONES)
def test_colours_are_told_apart(cones):
    seen = [lab(np.clip(np.array(CONES[cones]) @ linear(colour), 0, 1)) for colour in COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 30


@pytest.mark.parametrize(("colour", "ground"), list(itertools.product(COLOURS, GROUNDS)))
def test_colours_stand_out(colour, ground):
    low, high = sorted(LAB[1] @ linear(which) for which in (colour, ground))
    assert (high + 0.05) / (low + 0.05) >= 3  # WCAG 2.1, 1.4.11: graphical objects


def test_encoders_of_one_colour_have_other_shapes():
    marks = marks_of(map(str, range(len(COLOURS) * len(SHAPES))))
    assert len({(mark.colour, mark.marker, mark.dashes, mark.path) for mark in marks.values()}) == len(marks)


def test_the_page_needs_no_network(report):
    text = (report / "report.html").read_text()
    used = re.findall(r'(?:src|href|action)="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
    assert used
    assert [link for link in used if not link.startswith(("data:", "#"))] == []
    identifiers = re.findall(r' id="([^"]+)"', re.sub(r"<defs>.*?</defs>", "", text, flags=re.DOTALL))
    assert len(identifiers) == len(set(identifiers))


def test_people_see_no_source_of_the_page(report, page):
    """Tags, entities and escapes are for the browser."""
    page.open((report / "report.html").as_uri())
    shown = page.run("document.body.innerText")
    assert "interactive_probing" in shown
    assert re.findall(r"</?[a-z]+>|&[a-z]+;|&#\d+;|\\u[0-9a-f]{4}", shown) == []
    assert page.run("[...document.querySelectorAll('.note code')].length") > 0


@pytest.mark.parametrize("width", [1400, 820, 390])
def test_everything_is_drawn_and_nothing_is_hidden(report, page, width):
    page.size(width, dark=width == 820)
    page.open((report / "report.html").as_uri())
    assert page.errors == []
    assert page.run("document.documentElement.scrollWidth - innerWidth") <= 0
    images = page.run("[...document.images].map(image => image.naturalWidth * image.naturalHeight)")
    # Of each emulated encoder a map and a sequence of each split; of three of them probes and answers.
    assert len(images) == 2 * (5 + 2 * 5 + 2 * 3)
    assert min(images) > 0
    heights = page.run("[...document.querySelectorAll('figure > svg')].map(one => one.clientHeight)")
    drawn = ["scores", "scores", "curves", "curves", "curves of emulation", "returns", "legend", "leakage"]
    assert len(heights) == 2 * len(drawn)
    assert min(heights) > 20
    hidden = "box.scrollWidth > box.clientWidth + 1"
    visible = "[...document.querySelectorAll('.wide, figure.card')].filter(box => box.checkVisibility())"
    page.wait(f"{visible}.every(box => ({hidden}) === !box.nextElementSibling.hidden)")
    assert page.run(f"[...document.querySelectorAll('.wide:has(.leaderboard)')].every(box => !({hidden}))")


def column(page, table: str, place: int) -> list[str]:
    rows = f"[...document.querySelector('{table}').tBodies[0].rows]"
    return page.run(f"{rows}.map(row => row.cells[{place}].textContent.trim().split(' ')[0])")


def test_headings_sort_the_best_first_by_the_keyboard(report, page):
    page.size(1400)
    page.open((report / "report.html").as_uri())
    focus = "document.querySelector('table.leaderboard').tHead.rows[0].cells[{}].querySelector('button').focus()"
    page.run(focus.format(3))
    page.press("Enter", 13)
    scores = [float(score) for score in column(page, "table.leaderboard", 3)]
    assert scores == sorted(scores, reverse=True)
    page.run(focus.format(4))
    for sign in (1, -1):
        page.press("Enter", 13)
        losses = column(page, "table.leaderboard", 4)
        known = [float(loss) for loss in losses if loss != "–"]
        assert losses[len(known) :] == ["–"] * 4
        assert known == sorted(known, key=lambda loss: sign * loss)
    assert column(page, "table.leaderboard", 0) != sorted(column(page, "table.leaderboard", 0))
    page.run(focus.format(0))
    page.press("Enter", 13)
    assert column(page, "table.leaderboard", 0) == sorted(column(page, "table.leaderboard", 0))
    page.run("document.querySelector('.emulation').tHead.rows[0].cells[4].querySelector('button').click()")
    assert page.run("document.querySelector('.emulation th[aria-sort=descending]').textContent") == (
        "way to oracle ↑ test"
    )


def test_one_mark_an_encoder(report, page):
    page.size(1400)
    page.open((report / "report.html").as_uri())
    marks = page.run(
        "[...document.querySelectorAll('tbody th:has(.mark)')].map(head => {"
        "const path = head.querySelector('path');"
        "return [head.childNodes[1].textContent.trim(), path.getAttribute('d') + path.getAttribute('fill')]; })"
    )
    of_encoder = dict(marks)
    assert len(of_encoder) == 9
    assert {tuple(pair) for pair in marks} == set(of_encoder.items())
    assert len(set(of_encoder.values())) == len(of_encoder)


def test_paper_shows_every_column(report, page):
    page.size(1000)
    page.open((report / "report.html").as_uri())
    page.run("dispatchEvent(new Event('beforeprint'))")
    page.send("Emulation.setEmulatedMedia", media="print")
    page.wait("getComputedStyle(document.querySelector('.hint')).display === 'none'")
    assert page.run("[...document.querySelectorAll('details')].every(one => one.open)")
    assert page.run(
        "[...document.querySelectorAll('.wide')].every(one => getComputedStyle(one).overflowX === 'visible')"
    )
    assert (
        page.run("Math.max(...[...document.querySelectorAll('table')].map(one => one.clientWidth)) - innerWidth")
        <= 0
    )
    page.send("Emulation.setEmulatedMedia", media="")
