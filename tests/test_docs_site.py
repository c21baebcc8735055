"""The documentation site: its pages, what they take from elsewhere, and that it builds without a warning."""

import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import rnnzoo
from rnnzoo import rnn
from rnnzoo.loaders import cli as zoo_bench
from rnnzoo.zoo_builder import cli as zoo_builder

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}

_spec = spec_from_file_location("site_hook", DOCS / "site_hook.py")
assert _spec is not None
assert _spec.loader is not None
site_hook = module_from_spec(_spec)
_spec.loader.exec_module(site_hook)


def pages_of(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(each)]


def test_every_page_stands_in_the_navigation_once():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(pages_of(nav)) == sorted(PAGES)


def test_every_public_name_is_in_the_reference():
    documented = re.findall(r"^::: (\S+)$", "\n".join(map(Path.read_text, DOCS.rglob("*.md"))), re.MULTILINE)
    public = {f"rnnzoo.{name}" for name in rnnzoo.__all__ if name not in ("__version__", "rnn")}
    assert public | {f"{rnn.__name__}.{name}" for name in rnn.__all__} <= set(documented)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_section_is_on_a_page_of_the_site(name):
    taken = {section for page in PAGES for section in site_hook.section_links(page)}
    there = {f"{name}#{anchor}" for anchor in site_hook.sections((ROOT / name).read_text(encoding="utf-8"))}
    assert there == {section for section in taken if section.startswith(name)}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_to_files_on_github_and_on_the_site(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    site = PAGES | site_hook.outside_files() | {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.png")}
    for link in site_hook.links(text):
        assert ((DOCS / page).parent / link.partition("#")[0]).exists(), link
    for link in site_hook.links(site_hook.with_sections(page, text)):
        target = ((DOCS / page).parent / link.partition("#")[0]).resolve() if link[0] != "#" else DOCS / page
        assert target.relative_to(DOCS).as_posix() in site, link


@pytest.mark.parametrize("page", sorted(site_hook.COMMANDS))
def test_the_pages_of_the_commands_have_every_command_and_option(page):
    app = {"zoo-builder": zoo_builder, "zoo-bench": zoo_bench}[site_hook.COMMANDS[page][0]].app
    text = site_hook.commands(*site_hook.COMMANDS[page])
    for name, command in get_command(app).commands.items():
        part = text.partition(f" {name}\n\n```text\n")[2].partition("```")[0]
        assert part
        assert all(option in part for each in command.params for option in each.opts if option.startswith("--"))


def test_a_section_ends_at_the_next_heading_and_code_has_none():
    found = site_hook.sections("# A\n\none\n\n## B c: d\n\n```sh\n# no heading\n```\n\n### deeper\n\n## E\n")
    assert list(found) == ["a", "b-c-d", "e"]
    assert "no heading" in found["b-c-d"]
    assert "deeper" in found["b-c-d"]


def test_a_chart_becomes_boxes_in_its_order():
    assert re.sub(r"<.*?>", "", site_hook.chain("a[x & y] --> b\nb --> a\n")) == "x &amp; y → b\nb → x &amp; y"


@pytest.mark.skipif(find_spec("mkdocstrings") is None, reason="needs the extra docs")
@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_for_nothing_from_elsewhere(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {str(Path(page).with_suffix(".html")) for page in PAGES} <= built
    for page in built:
        text = (site / page).read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="?https?:', text), page
