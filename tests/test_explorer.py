"""The page of a zoo: its RNNs compute in a browser what they compute in Python, from ranges of its files."""

import errno
import functools
import http.server
import json
import os
import re
import socket
import struct
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import build
from loopback_hub import LoopbackHub

from rnnzoo import Zoo
from rnnzoo.zoo_builder.explorer import ExplorerServer, data, find_zoo, write_site
from rnnzoo.zoo_builder.explorer.page import BROWSER
from rnnzoo.zoo_builder.rnn import CELLS, RNNModule, RNNSpec
from rnnzoo.zoo_builder.storage.shards import read_shard
from rnnzoo.zoo_builder.tasks.data import LabelledItems
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import turned
from rnnzoo.zoo_builder.zoos import resolve_config

READY = "chosen.model !== null && family.shown && find('state').textContent === ''"


@contextmanager
def serving(server):
    """A server at work, at the address that is given."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def languages(language_zoo):
    with serving(ExplorerServer(find_zoo(str(language_zoo)))) as address:
        yield address


@pytest.fixture(scope="module")
def digits(digits_zoo):
    with serving(ExplorerServer(find_zoo(str(digits_zoo)))) as address:
        yield address


def log_probabilities(zoo: Zoo, page, items: np.ndarray) -> np.ndarray:
    """What the chosen checkpoint answers to items uint8 [F] in Python, [T, O]."""
    name = page.run("zoo.runs[runOf[chosen.checkpoint]].name")
    step = page.run("zoo.steps[zoo.checkpoints.step[chosen.checkpoint]]")
    table = zoo.metadata
    mask = (np.array(table["run_id"]) == name) & (table["step"].to_numpy() == step)
    (checkpoint,) = np.array(table["checkpoint_id"])[mask]
    with torch.no_grad():
        logits, _ = zoo.model(checkpoint)(zoo.encoding.inputs(torch.from_numpy(items[None])))
    return logits[0].log_softmax(dim=-1).numpy()


@pytest.mark.parametrize("cell", CELLS)
def test_cells_in_a_browser_are_those_of_torch(page, cell):
    spec = RNNSpec(input_size=3, hidden_size=5, output_size=4, num_layers=3, cell=cell)
    model = RNNModule(spec).double()
    inputs = torch.randn(7, 3, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
        expected = model(inputs[None])[0][0].log_softmax(dim=-1).numpy()
    weights = {name: tensor.flatten().tolist() for name, tensor in model.state_dict().items()}
    scripts = "\n".join(BROWSER.joinpath(name).read_text() for name in ("rnn.js", f"{cell}.js"))
    call = f"new RNN({json.dumps(spec.to_dict())}, {json.dumps(weights)}).run({json.dumps(inputs.tolist())})"
    page.size(800)
    page.open("data:text/html,<p>empty")
    found = page.run(f"(() => {{ {scripts}\nreturn {call}.map(column => Array.from(column)); }})()")
    np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=1e-12)


def test_a_language_is_written_as_in_python(page, languages, language_zoo):
    page.size(1200)
    page.open(languages)
    page.wait(READY)
    assert page.errors == []
    ranges = [request for request in page.requests if "/weights/" in request["url"]]
    assert len(ranges) == 2 + len(RNNSpec(6, 32, 6).parameters)  # of a header two, and one a tensor
    assert all("Range" in request["headers"] for request in ranges)
    zoo, signs = Zoo(language_zoo), "abcd^$"
    for beginning in ("", "aab", "d^"):
        page.run(f"root = document.querySelector('input[type=text]'); root.value = {beginning!r};"
                 "root.dispatchEvent(new Event('input'))")  # fmt: skip
        tokens = page.run("family.shown.tokens")
        found = np.array(page.run("family.shown.columns.map(column => Array.from(column))"))
        expected = log_probabilities(zoo, page, np.array([4, *tokens], np.uint8))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        text = page.run("document.querySelector('.words').textContent")
        assert text.startswith(beginning)
        assert [signs.index(sign) for sign in text] == tokens
        free = slice(len(beginning), None)
        assert tokens[free] == expected[free].argmax(axis=1).tolist()
        shown = page.run("getComputedStyle(document.querySelector('.heat .picked')).getPropertyValue('--p')")
        assert float(shown[:-1]) == pytest.approx(100 * np.exp(expected[0, tokens[0]]), abs=0.06)
    page.run("root.value = 'ax'; root.dispatchEvent(new Event('input'))")
    assert page.run("root.validationMessage") == "found x, expected a b c d ^ $"


def test_a_digit_is_read_as_in_python(page, digits, digits_zoo):
    page.size(1200)
    page.open(digits)
    page.wait(READY)
    assert page.errors == []
    zoo = Zoo(digits_zoo)
    own = page.run("zoo.family.degrees[zoo.runs[runOf[chosen.checkpoint]].task]")
    assert page.run("Number(document.querySelector('#panel input').value)") == pytest.approx(own, abs=0.5)
    for number, angle in enumerate((0, 77, 90, 180, 301, 360)):
        page.run(f"control = document.querySelector('#panel select'); control.value = {number};"
                 f"control = document.querySelector('#panel input'); control.value = {angle};"
                 "control.dispatchEvent(new Event('input'))")  # fmt: skip
        image = np.array(page.run(f"zoo.family.images[{number}].pixels"), np.uint8)
        item = np.array(page.run("family.shown.pixels"), np.uint8)
        np.testing.assert_array_equal(item, turned(image, float(angle)))
        found = np.array(page.run("family.shown.columns.map(column => Array.from(column))"))
        np.testing.assert_allclose(found, log_probabilities(zoo, page, item), rtol=0, atol=1e-5)
    answer = found[-1].argmax()
    assert f"after 49 tiles it answers {answer}" in page.run("document.querySelector('.words').textContent")
    page.run("control = document.querySelectorAll('#panel input')[1]; control.value = 3;"
             "control.dispatchEvent(new Event('input'))")  # fmt: skip
    assert f"after 3 tiles it answers {found[3].argmax()}" in page.run(
        "document.querySelector('.words').textContent"
    )
    assert page.run("document.querySelectorAll('.heat tbody td').length") == 10 * 50


def test_a_lock_answers_as_in_python(page, tmp_path):
    fields = {"runs": 4, "steps": 2, "checkpoints": (0, 2), "hidden_size": 8, "batch_size": 4, "runs_per_shard": 4}
    build(resolve_config("combination_locks_4", "smoke", fields), tmp_path / "zoo")
    with serving(ExplorerServer(find_zoo(str(tmp_path / "zoo")))) as address:
        page.size(1200)
        page.open(address)
        page.wait(READY)
        page.run("document.querySelector('#panel input').value = '011';"
                 "document.querySelector('#panel input').dispatchEvent(new Event('input'))")  # fmt: skip
        found = np.array(page.run("family.shown.columns.map(column => Array.from(column))"))
        items = np.array([2, 0, 1, 1, 0, 0, 0, 0], np.uint8)
        np.testing.assert_allclose(found, log_probabilities(Zoo(tmp_path / "zoo"), page, items), rtol=0, atol=1e-5)
        answers = "".join("01x"[answer] for answer in found.argmax(axis=1))
        assert page.run("document.querySelector('.words').textContent") == answers
        secret = page.run("zoo.family.secrets[zoo.runs[runOf[chosen.checkpoint]].task]")
        follows = [all(secret[n] == [0, 1, 1][n] for n in range(t)) for t in range(4)]
        right = "".join(str(secret[t]) if follows[t] else "x" for t in range(4))
        assert f"answers {right};" in page.run("document.querySelector('#panel .caption').textContent")


def test_every_checkpoint_is_chosen_by_click_key_and_list(page, languages):
    page.size(1200)
    page.open(languages)
    page.wait(READY)
    runs, steps = page.run("zoo.runs.length"), page.run("zoo.steps.length")
    before = page.run("chosen.checkpoint")
    page.run("find('map').focus()")
    page.press("ArrowLeft", 37)
    assert page.run("runOf[chosen.checkpoint]") == page.run(f"runOf[{before}]")
    assert page.run("zoo.checkpoints.step[chosen.checkpoint]") == page.run(f"zoo.checkpoints.step[{before}]") - 1
    for _ in range(runs):
        page.press("ArrowDown", 40)
    assert page.run("runOf[chosen.checkpoint]") == page.run(f"runOf[{before}]")
    for _ in range(steps):
        page.press("ArrowLeft", 37)
    assert page.run("zoo.checkpoints.step[chosen.checkpoint]") == 0
    page.wait(READY)
    assert ", step 0, accuracy" in page.run("find('chosen').textContent")
    x, y = page.run(
        "(() => { const box = find('map').getBoundingClientRect(); const [x, y] = mapPlaces[5];"
        "return [box.x + x, box.y + y]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    nearest = page.run("mapPlaces.map(p => Math.hypot(p[0] - mapPlaces[5][0], p[1] - mapPlaces[5][1]))")
    assert nearest[page.run("chosen.checkpoint")] < 3
    page.run("find('filter').value = 'ood'; find('filter').dispatchEvent(new Event('input'))")
    assert page.run("[...find('runs').rows].every(row => row.cells[2].textContent === 'ood')")
    page.run("document.querySelector('#runs button').focus()")
    page.press("Enter", 13)
    page.wait(READY)
    assert page.run("zoo.splits[zoo.runs[runOf[chosen.checkpoint]].split]") == "ood"
    colours = {}
    for name in ("step", "accuracy", "task"):
        page.run(f"find('colouring').value = {name!r}; find('colouring').dispatchEvent(new Event('change'))")
        colours[name] = page.run("colourOf(0) + colourOf(1)")
    assert len(set(colours.values())) == 3


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("zoo", ["languages", "digits"])
def test_it_fits_a_phone(page, zoo, dark, request):
    page.size(390, dark=dark)
    page.open(request.getfixturevalue(zoo))
    page.wait(READY)
    assert page.run("document.documentElement.scrollWidth - innerWidth") <= 0
    ground, ink = page.run("['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])")
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ground, ink)]
    assert (brightness[0] < brightness[1]) == dark


def test_weights_that_cannot_be_read_are_told(page, languages):
    page.size(800)
    page.open(languages)
    page.wait(READY)
    page.run("shards.forEach(shard => { shard.url += '.gone'; shard.headerRead = null; }); choose(0)")
    page.wait("find('state').textContent.includes('could not be read')")
    assert "the server answered 404" in page.run("find('state').textContent")
    assert page.run("find('panel').hidden")
    page.run("shards.forEach(shard => { shard.url = shard.url.replace('.gone', ''); }); choose(0)")
    page.wait("find('state').textContent === ''")
    assert not page.run("find('panel').hidden")


def test_a_browser_that_goes_away_is_no_error(languages, capfd):
    host, port = re.findall(r"//(.*):(\d+)/", languages)[0]
    for _ in range(5):
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset at once
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert urllib.request.urlopen(languages).status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_run_that_diverged_is_told(page, languages):
    page.size(800)
    page.open(languages)
    page.wait(READY)
    page.run("row = Shard.prototype.row; Shard.prototype.row = async function (number) {"
             "const weights = await row.call(this, number); weights['head.bias'][0] = NaN; return weights; };"
             "choose(0)")  # fmt: skip
    page.wait("find('state').textContent.includes('diverged')")
    assert page.run("find('panel').hidden")
    page.run("Shard.prototype.row = row; choose(1)")
    page.wait("find('state').textContent === ''")
    assert not page.run("find('panel').hidden")


def test_images_of_which_nobody_knows_the_label(page, digits, digits_zoo):
    """As in the rollouts of imported zoos."""
    inputs = read_shard(next((digits_zoo / "rollouts").iterdir())).tensors["inputs"]
    items = torch.from_numpy(inputs.reshape(-1, inputs.shape[-1])[:20].copy())
    images = SequentialImages.explorer_data([], LabelledItems(items))["images"]
    assert [image["label"] for image in images] == [None] * 10
    page.size(800)
    page.open(digits)
    page.wait(READY)
    page.run("zoo.family.images.forEach(image => { image.label = null; });"
             "document.querySelector('#panel select').dispatchEvent(new Event('change'))")  # fmt: skip
    assert page.run("document.querySelector('.words').textContent").startswith("after 49 tiles it answers")
    assert "image 1, turned" in page.run("document.querySelector('.digit').getAttribute('aria-label')")


def test_a_static_folder_is_a_space_and_needs_no_server_of_its_own(page, digits_zoo, tmp_path):
    """The plain server of Python sends whole files and knows no ranges."""
    out = tmp_path / "site"
    size = write_site(find_zoo(str(digits_zoo)), out)
    assert size == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    head = (out / "README.md").read_text().split("---\n")[1]
    assert "sdk: static\n" in head
    assert "app_file: index.html\n" in head
    text = (out / "index.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "CC BY 4.0" in text
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(out))
    handler.func.log_message = lambda *_: None
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        page.size(800)
        page.open(address)
        page.wait(READY)
        assert page.errors == []
    page.open((out / "index.html").as_uri())
    page.wait("find('state').textContent.includes('serve this folder')")


def get(address: str, **headers) -> tuple[int, bytes, dict]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_the_server_gives_ranges_of_weights_and_nothing_else(languages, language_zoo):
    name = sorted(path.name for path in (language_zoo / "weights").iterdir())[0]
    content = (language_zoo / "weights" / name).read_bytes()
    place = f"{languages}weights/{name}"
    assert get(place)[:2] == (200, content)
    status, found, headers = get(place, Range="bytes=8-19")
    assert (status, found, headers["Content-Range"]) == (206, content[8:20], f"bytes 8-19/{len(content)}")
    assert get(place, Range=f"bytes={len(content) - 3}-{len(content) + 99}")[:2] == (206, content[-3:])
    assert get(place, Range="bytes=5-")[:2] == (206, content[5:])
    assert get(place, Range=f"bytes={len(content)}-")[0] == 416
    assert get(place, Range=f"bytes={'9' * 18}-")[0] == 416
    assert get(place, Range=f"bytes={'9' * 5000}-")[:2] == (200, content)  # no range that means anything
    for other in ("zoo.json", "weights/", "weights/../zoo.json", "weights/none.safetensors", "%2e%2e/etc/passwd"):
        assert get(languages + other)[0] == 404


def test_a_zoo_that_is_moved_away_while_it_is_shown(copied, capsys):
    with serving(ExplorerServer(find_zoo(str(copied)))) as address:
        name = next((copied / "weights").iterdir()).name
        copied.rename(copied.with_name("moved"))
        status, found, _ = get(f"{address}weights/{name}")
        assert (status, found) == (404, f"cannot be read: {os.strerror(errno.ENOENT)}".encode())
        assert get(address)[0] == 200
    assert capsys.readouterr().err == ""


def test_a_repository_is_shown_from_the_hub(language_zoo, tmp_path, monkeypatch):
    with LoopbackHub() as hub:
        hub.take_over(monkeypatch, tmp_path / "home")
        hub.add_folder("org/zoo", language_zoo, tags=["v1.0.0"])
        found = find_zoo("org/zoo@v1.0.0")
        write_site(found, tmp_path / "site")
        assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["README.md", "index.html"]
        assert "datasets:\n- org/zoo\n" in (tmp_path / "site" / "README.md").read_text()
        text = (tmp_path / "site" / "index.html").read_text()
        values = json.loads(re.search(r'id="zoo">(.*?)</script>', text, re.DOTALL)[1])
        assert values["weights"] == f"{hub.endpoint}/datasets/org/zoo/resolve/{found.folder.name}/weights/"
        shard = values["weights"] + values["shards"][0] + ".safetensors"
        content = (language_zoo / "weights" / f"{values['shards'][0]}.safetensors").read_bytes()
        assert get(shard, Range="bytes=0-7")[:2] == (206, content[:8])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "zoo: found 'nowhere', expected a zoo's folder, or a hub repository (org/name)"),
        (["{zoo}", "--static", "{zoo}"], "exists; expected the name of a new folder"),
        (["{zoo}", "--port", "{taken}"], "--port: found {taken}, expected a free port"),
    ],
)
def test_what_cannot_be_shown_exits_with_2(
    language_zoo, languages, monkeypatch, builder, tmp_path, words, message
):
    values = {"zoo": str(language_zoo), "taken": languages.rstrip("/").rpartition(":")[2]}
    monkeypatch.chdir(tmp_path)
    code, _, err = builder("explore", *(word.format(**values) for word in words))
    assert code == 2
    assert message.format(**values) in err


def test_the_command_writes_a_page(language_zoo, builder, tmp_path):
    (tmp_path / "site").mkdir()
    code, out, _ = builder("explore", language_zoo, "--static", tmp_path / "site")
    assert code == 0
    assert "python -m http.server -d" in out
    assert Path(tmp_path / "site" / "index.html").is_file()


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([(45.0, "pink"), (90.0, "pink")], ["phase 45", "phase 90"]),
        ([(45.0, "pink"), (45.0, "white")], ["phase 45, pink", "phase 45, white"]),
        ([(45.0, "pink"), (45.0, "pink")], ["phase 45, pink", "phase 45, pink"]),
        ([], []),
    ],
)
def test_tasks_have_as_much_of_a_name_as_tells_them_apart(rows, labels):
    class Waves:
        task_columns = pa.schema([("phase", pa.float32()), ("noise", pa.string())])

    assert data._labels(Waves, [dict(zip(("phase", "noise"), row, strict=True)) for row in rows]) == labels
