/* The page: a map of all checkpoints, accuracies over steps, runs by task; and the checkpoint that is chosen, run here.

   zoo (the data of the page): {spec, encoding, outputs, steps, splits, tasks, runs, checkpoints, start, colourings,
   palettes, weights, shards, family}. A family's script says how its RNNs are shown: `family.panel(root, zoo)` makes
   the controls in the element `root` and returns what is called with every checkpoint that is chosen:
   show(model, run, task), where `model` is an RNN. */

const zoo = JSON.parse(document.getElementById("zoo").textContent);
const family = {panel: root => { root.textContent = "This family of tasks has no program for browsers."; return () => {}; }};
const shards = zoo.shards.map(name => new Shard(zoo.weights + name + ".safetensors"));
const find = id => document.getElementById(id);
const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) key in element ? (element[key] = value) : element.setAttribute(key, value);
  element.append(...children);
  return element;
};

/** A table of probabilities: columns, T of [O] -> one cell each, the brighter the likelier. picked: [T], output or null. */
function heatMap(rowNames, columns, columnNames, picked) {
  const percent = p => `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)} %`;
  const head = make("tr", {}, make("td"), ...columnNames.map(name => make("th", {scope: "col", textContent: name})));
  const rows = rowNames.map((rowName, row) => make("tr", {}, make("th", {scope: "row", textContent: rowName}), ...columns.map((column, t) => {
    const p = Math.exp(column[row]);
    const cell = make("td", {title: `${rowName}: ${percent(p)}`, className: picked[t] === row ? "picked" : ""});
    cell.style.setProperty("--p", `${(100 * p).toFixed(1)}%`);
    cell.append(make("span", {className: "unseen", textContent: percent(p)}));
    return cell;
  })));
  return make("div", {className: "wide", tabIndex: 0}, make("table", {className: "heat"}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

const chosen = {checkpoint: zoo.start, model: null, turn: 0};
const runOf = zoo.checkpoints.run, count = runOf.length;
const checkpointsOf = zoo.runs.map(() => []);
runOf.forEach((run, checkpoint) => checkpointsOf[run].push(checkpoint));

function colourOf(checkpoint) {
  const {values, limits: [low, high], palette} = zoo.colourings[find("colouring").value];
  const value = values[checkpoint];
  if (value === null) return "#808080";
  const stops = zoo.palettes[palette];
  return stops[Math.round(Math.min(1, Math.max(0, (value - low) / (high - low || 1))) * (stops.length - 1))];
}

/** A canvas that is drawn anew whenever its size or the colours of the page change; draw(pen, width, height). */
function drawing(canvas, draw) {
  const redraw = () => {
    const {clientWidth: width, clientHeight: height} = canvas, density = devicePixelRatio || 1;
    canvas.width = width * density;
    canvas.height = height * density;
    const pen = canvas.getContext("2d");
    pen.scale(density, density);
    pen.font = "12px system-ui, sans-serif";
    draw(pen, width, height, name => getComputedStyle(document.documentElement).getPropertyValue(name));
  };
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  return redraw;
}

/** Let clicks on a canvas and arrow keys choose: the nearest of the places [count] of [x, y] or null. */
function choosable(canvas, places) {
  canvas.addEventListener("click", event => {
    const nearest = places().reduce((best, place, checkpoint) => {
      const distance = place ? Math.hypot(place[0] - event.offsetX, place[1] - event.offsetY) : Infinity;
      return distance < best[0] ? [distance, checkpoint] : best;
    }, [40, null]);
    if (nearest[1] !== null) choose(nearest[1]);
  });
  canvas.addEventListener("keydown", event => {
    const moves = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [runs, steps] = moves[event.key];
    const run = (runOf[chosen.checkpoint] + runs + zoo.runs.length) % zoo.runs.length;
    const place = checkpointsOf[runOf[chosen.checkpoint]].indexOf(chosen.checkpoint) + steps;
    choose(checkpointsOf[run][Math.min(Math.max(0, place), checkpointsOf[run].length - 1)]);
  });
}

const margin = 12;
let mapPlaces = [], curvePlaces = [];
const drawMap = drawing(find("map"), (pen, width, height, colour) => {
  const points = zoo.checkpoints.map.filter(Boolean);
  const ends = axis => points.reduce(([low, high], p) => [Math.min(low, p[axis]), Math.max(high, p[axis])], [Infinity, -Infinity]);
  const [[left, right], [bottom, top]] = [ends(0), ends(1)];
  const x = value => margin + (value - left) / (right - left || 1) * (width - 2 * margin);
  const y = value => height - margin - (value - bottom) / (top - bottom || 1) * (height - 2 * margin);
  mapPlaces = zoo.checkpoints.map.map(point => point && [x(point[0]), y(point[1])]);
  const ring = (checkpoint, size) => { pen.beginPath(); pen.arc(...mapPlaces[checkpoint], size, 0, 7); };
  pen.strokeStyle = "#808080";
  pen.lineWidth = 0.6;
  const radius = Math.max(1.8, Math.min(3.5, 120 / Math.sqrt(count)));
  for (let checkpoint = 0; checkpoint < count; checkpoint++) {
    if (!mapPlaces[checkpoint]) continue;
    ring(checkpoint, radius);
    pen.fillStyle = colourOf(checkpoint);
    pen.fill();
    pen.stroke();
  }
  const path = checkpointsOf[runOf[chosen.checkpoint]].filter(checkpoint => mapPlaces[checkpoint]);
  pen.strokeStyle = colour("--ink");
  pen.lineWidth = 1.2;
  pen.beginPath();
  path.forEach(checkpoint => pen.lineTo(...mapPlaces[checkpoint]));
  pen.stroke();
  pen.lineWidth = 2.5;
  if (mapPlaces[chosen.checkpoint]) { ring(chosen.checkpoint, 8); pen.stroke(); }
});

const drawCurves = drawing(find("curves"), (pen, width, height, colour) => {
  const left = 34, bottom = 22, last = Math.max(1, zoo.steps.length - 1);
  const x = index => left + index / last * (width - left - margin);
  const y = accuracy => height - bottom - accuracy * (height - bottom - margin);
  const {step, accuracy} = zoo.checkpoints;
  curvePlaces = accuracy.map((value, checkpoint) => value === null ? null : [x(step[checkpoint]), y(value)]);
  pen.fillStyle = pen.strokeStyle = colour("--soft");
  pen.lineWidth = 0.5;
  for (const share of [0, 0.5, 1]) {
    pen.textAlign = "right";
    pen.fillText(share, left - 6, y(share) + 4);
    pen.beginPath(); pen.moveTo(left, y(share)); pen.lineTo(width - margin, y(share)); pen.stroke();
  }
  zoo.steps.forEach((name, index) => {
    pen.textAlign = index === 0 ? "left" : index === zoo.steps.length - 1 ? "right" : "center";
    pen.fillText(name.toLocaleString("en"), x(index), height - 5);
  });
  const line = run => {
    pen.beginPath();
    checkpointsOf[run].forEach(checkpoint => curvePlaces[checkpoint] && pen.lineTo(...curvePlaces[checkpoint]));
    pen.stroke();
  };
  const own = runOf[chosen.checkpoint];
  pen.globalAlpha = Math.min(0.5, 30 / zoo.runs.length);
  pen.lineWidth = 1;
  zoo.runs.forEach((_, run) => line(run));
  pen.globalAlpha = 1;
  pen.strokeStyle = colour("--accent");
  zoo.runs.forEach((run, number) => { if (run.task === zoo.runs[own].task) line(number); });
  pen.strokeStyle = colour("--ink");
  pen.lineWidth = 2.5;
  line(own);
  const place = curvePlaces[chosen.checkpoint];
  if (place) { pen.beginPath(); pen.arc(...place, 7, 0, 7); pen.stroke(); }
});

const MOST_ROWS = 100;
function drawRuns() {
  const words = find("filter").value.toLowerCase();
  const last = run => zoo.checkpoints.accuracy[checkpointsOf[run].at(-1)];
  const found = zoo.runs.map((_, run) => run).filter(run => {
    const {name, task, split} = zoo.runs[run];
    return `${zoo.tasks[task].label} ${name} ${zoo.splits[split]}`.toLowerCase().includes(words);
  });
  found.sort((a, b) => zoo.runs[a].task - zoo.runs[b].task || a - b);
  const rows = found.slice(0, MOST_ROWS).map(run => {
    const accuracy = last(run), {name, task, split} = zoo.runs[run];
    const button = make("button", {textContent: zoo.tasks[task].label, onclick: () => choose(checkpointsOf[run].at(-1))});
    if (run === runOf[chosen.checkpoint]) button.setAttribute("aria-current", "true");
    const bar = make("meter", {value: accuracy ?? 0, title: "accuracy at the last step"});
    return make("tr", {}, make("th", {scope: "row"}, button), make("td", {textContent: name}), make("td", {textContent: zoo.splits[split]}),
      make("td", {className: "n"}, bar, ` ${accuracy === null ? "–" : accuracy.toFixed(3)}`));
  });
  find("runs").replaceChildren(...rows);
  find("found").textContent = found.length > MOST_ROWS ? `${MOST_ROWS} of ${found.length} runs are shown` : `${found.length} runs`;
}

async function choose(checkpoint) {
  const turn = ++chosen.turn, run = zoo.runs[runOf[checkpoint]], task = zoo.tasks[run.task];
  chosen.checkpoint = checkpoint;
  const {step, accuracy, shard, row} = zoo.checkpoints;
  find("step").value = checkpointsOf[runOf[checkpoint]].indexOf(checkpoint);
  const shown = accuracy[checkpoint] === null ? "not known" : accuracy[checkpoint].toFixed(3);
  find("chosen").textContent = `${task.label}, ${run.name} (${zoo.splits[run.split]}), step ${zoo.steps[step[checkpoint]].toLocaleString("en")}, accuracy ${shown}`;
  drawMap();
  drawCurves();
  drawRuns();
  const tell = text => { find("state").textContent = text; };
  tell("reading weights …");
  try {
    const weights = await shards[shard[checkpoint]].row(row[checkpoint]);
    if (turn !== chosen.turn) return;  // another one was chosen meanwhile
    const runs = Object.values(weights).every(tensor => tensor.every(Number.isFinite));
    find("panel").hidden = !runs;
    if (!runs) { tell("Some weights are not finite: the training of this run diverged."); return; }
    chosen.model = new RNN(zoo.spec, weights);
    show(chosen.model, run, task);
    tell("");
  } catch (error) {
    if (turn !== chosen.turn) return;
    find("panel").hidden = true;
    const local = location.protocol === "file:";
    tell(local ? "Browsers read weights over HTTP only: serve this folder, as by `python -m http.server`." : `The weights could not be read. ${error.message}`);
  }
}
