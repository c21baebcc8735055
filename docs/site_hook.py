"""What MkDocs does not know of the pages in docs/: sections from elsewhere, links out of docs/, commands, charts.

On a page, a link to a section of README.md or CONTRIBUTING.md, or to a text beside a card, that is a paragraph of
its own is a link on GitHub; on the site the section or text itself stands there. So every text is written once.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "reference/zoo_builder.md": ("zoo-builder", "rnnzoo.zoo_builder.cli"),
    "reference/zoo_bench.md": ("zoo-bench", "rnnzoo.loaders.cli"),
}
"""Page -> the command whose help stands on it, and the module that has its `app`."""

TAKEN = r"(?:README|CONTRIBUTING)\.md#[\w-]+|dataset_cards/[\w/]+\.md"
SECTION_LINK = re.compile(rf"^\[[^\]\n]*\]\(((?:\.\./)+(?:{TAKEN}))\)$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s]+)(?=\))")
FENCED = re.compile(r"^( *```.*?^ *```\n?)", re.MULTILINE | re.DOTALL)
DIAGRAM = re.compile(r"^```mermaid\nflowchart LR\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HELP_WIDTH = 100


def sections(text: str) -> dict[str, str]:
    """The sections of a Markdown text: anchor -> its heading (of level 1 or 2) and text."""
    found: dict[str, str] = {}
    anchor = ""
    for i, part in enumerate(FENCED.split(text)):
        for line in [part] if i % 2 else part.splitlines(keepends=True):
            if heading := re.match(r"##? (.*)", line):
                anchor = re.sub(r"[^\w\- ]", "", heading[1].lower()).strip().replace(" ", "-")
            found[anchor] = found.get(anchor, "") + line
    return found


def links(text: str) -> list[str]:
    """The links of a Markdown text to other pages and files, and within it; code has none."""
    return [link for part in FENCED.split(text)[::2] for link in LINK.findall(part)]


def section_links(page: str) -> list[str]:
    """The sections that stand on a page of docs/, as paths from the root of the repository with anchors."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [_from_root(page, link) for link in SECTION_LINK.findall(text)]


def section_pages() -> dict[str, str]:
    """Section or file -> the page of docs/ on which it stands; a file stands where its title does."""
    pages = {}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        page = path.relative_to(ROOT / "docs").as_posix()
        for place, section in enumerate(section_links(page)):
            anchor = section.partition("#")[2]
            pages[section] = f"{page}#{anchor}" if place else page
    for name, title in (("README.md", "rnnzoo"), ("CONTRIBUTING.md", "contributing")):
        pages[name] = pages[f"{name}#{title}"]
    return pages


def with_sections(page: str, markdown: str) -> str:
    """The text of a page with the sections in place of the links to them, and links that work on the site."""

    def section(found: re.Match[str]) -> str:
        name, _, anchor = _from_root(page, found[1]).partition("#")
        text = (ROOT / name).read_text(encoding="utf-8")
        text = sections(text)[anchor] if anchor else text
        level = "# " if found.start() == 0 else "## "  # the first section gives the page its title
        text = re.sub(r"^#+ ", level, text)
        return _outside_fences(text, lambda part: LINK.sub(lambda link: _on_page(name, link[1]), part))

    def _on_page(name: str, link: str) -> str:
        target = f"{name}{link}" if link.startswith("#") else link
        return relpath(target, normpath(PurePosixPath("docs", page).parent))

    return _outside_fences(SECTION_LINK.sub(section, markdown), lambda part: LINK.sub(_to_site(page), part))


def commands(name: str, module: str) -> str:
    """The help of a command and its subcommands, as Markdown."""
    from typer import Context
    from typer.main import get_command

    group: Any = get_command(import_module(module).app)
    parts = []
    for command, title in [(group, name), *((each, f"{name} {key}") for key, each in group.commands.items())]:
        context = Context(command, info_name=title, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH)
        heading = "" if command is group else f"## {title}\n\n"
        parts.append(f"{heading}```text\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def chain(diagram: str) -> str:
    """A chart `a[first] --> b[second]`, a line a chain, as boxes and arrows of HTML."""
    labels = dict(re.findall(r"(\w+)\[(.*?)\]", diagram))
    rows = []
    for line in diagram.strip().splitlines():
        names = [re.sub(r"\[.*", "", node).strip() for node in line.split("-->")]
        boxes = (f"<span>{html.escape(labels.get(name, name))}</span>" for name in names)
        rows.append(f'<div class="chain">{" → ".join(boxes)}</div>')
    return "\n".join(rows)


def on_files(files: Any, config: Any) -> Any:
    """Files that pages link to and that lie outside docs/ become files of the site."""
    from mkdocs.structure.files import File

    for path in outside_files():
        files.append(File.generated(config, path, content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    name = page.file.src_uri
    markdown = DIAGRAM.sub(lambda found: chain(found[1]), with_sections(name, markdown))
    return f"{markdown}\n{commands(*COMMANDS[name])}" if name in COMMANDS else markdown


def outside_files() -> set[str]:
    """Files outside docs/ to which pages or their sections link, except those that are pages themselves."""
    texts = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "docs").rglob("*.md")}
    texts |= {name: ROOT / name for name in ("README.md", "CONTRIBUTING.md")}
    found = set()
    for name, path in texts.items():
        for link in links(path.read_text(encoding="utf-8")):
            target = normpath(PurePosixPath(name).parent / link.partition("#")[0])
            if not target.startswith("docs/") and target not in texts and (ROOT / target).is_file():
                found.add(target)
    return found


def _to_site(page: str) -> Callable[[re.Match[str]], str]:
    """Turns a link of a page of docs/, which may lead out of docs/, into one within the site."""
    pages = section_pages()
    here = PurePosixPath(page).parent

    def link(found: re.Match[str]) -> str:
        if found[1].startswith("#"):
            return found[1]
        target = _from_root(page, found[1])
        inside = pages.get(target, target.removeprefix("docs/"))
        return relpath(inside, here)

    return link


def _from_root(page: str, link: str) -> str:
    """A link of a page of docs/ as a path from the root of the repository."""
    return normpath(PurePosixPath("docs", page).parent / link)


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    """A text of Markdown, changed where it is no code."""
    return "".join(part if i % 2 else change(part) for i, part in enumerate(FENCED.split(text)))
