"""The page as one HTML file: its data, its scripts and its style stand in it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rnnzoo.zoo_builder.errors import blaming
from rnnzoo.zoo_builder.explorer.data import PageData

BROWSER = files("rnnzoo.zoo_builder.rnn").joinpath("browser")
"""The RNN in JavaScript: `rnn.js`, and a file a cell."""
OWN = Path(__file__).parent


def render_page(data: PageData) -> str:
    """The page of a zoo."""
    environment = Environment(
        loader=FileSystemLoader(OWN),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    config, manifest, spec = data.manifest.config, data.manifest, data.manifest.rnn_spec()
    tasks, runs = len(data.values["tasks"]), len(data.values["runs"])
    named = data.family.zoos.get(manifest.zoo)
    return environment.get_template("page.html.jinja").render(
        title=page_title(manifest.zoo),
        summary=f"{runs:,} of {config['runs']:,} runs of {config['steps']:,} steps, on {tasks:,} tasks: "
        f"{len(data.values['checkpoints']['run']):,} checkpoints of {spec.num_layers}-layer {spec.cell} networks "
        f"with {spec.hidden_size} units.",
        map_caption="A point a checkpoint, by the two main components of its layers' statistics "
        f"({data.shares[0]:.0%} and {data.shares[1]:.0%} of the variance); the line is the chosen run's training.",
        task_title=data.family.task_columns.names[0].replace("_", " "),
        notice=named.notice if named else "",
        style=Markup(_own("page.css")),
        data=Markup(_inside_a_page(data)),
        scripts=[Markup(script) for script in _scripts(data)],
    )


def page_title(zoo: str) -> str:
    """The title of a zoo's page."""
    return f"{zoo.replace('_', ' ')}: a zoo of recurrent networks"


def _inside_a_page(data: PageData) -> str:
    """The values as JSON that ends no element of HTML."""
    return json.dumps(data.values, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _scripts(data: PageData) -> list[str]:
    """In the order in which they have to run; those of a cell and a family only where these have one."""
    with blaming(f"family {data.family.name!r}: explorer_script"):
        own = data.family.explorer_script() or ""
    cell = BROWSER.joinpath(f"{data.manifest.rnn_spec().cell}.js")
    return [
        BROWSER.joinpath("rnn.js").read_text(encoding="utf-8"),
        *([cell.read_text(encoding="utf-8")] if cell.is_file() else []),
        _own("weights.js"),
        _own("page.js"),
        own,
        _own("start.js"),
    ]


def _own(name: str) -> str:
    return (OWN / name).read_text(encoding="utf-8")
