/* An RNN reads a digit, turned by a slider, tile by tile, and names it after each. */
family.panel = (root, zoo) => {
  const {degrees, side, images} = zoo.family;
  const tile = Math.round(Math.sqrt(zoo.encoding.tile)), across = side / tile;
  const nameOf = ({label}, place) => label === null ? `image ${Number(place) + 1}` : `a ${label}`;
  const digit = make("select", {}, ...images.map((image, place) => make("option", {value: place, textContent: nameOf(image, place)})));
  const angle = make("input", {type: "range", min: 0, max: 360, step: 1, value: 0}), angleText = make("output");
  const place = make("input", {type: "range", min: 0, max: across * across, value: across * across}), placeText = make("output");
  const own = make("button", {textContent: "the RNN's own angle"});
  const canvas = make("canvas", {width: side, height: side, role: "img", className: "digit"});
  const verdict = make("p", {className: "words"}), picture = make("div");
  canvas.style.cssText = "width: 196px; height: 196px; image-rendering: pixelated; cursor: default; border-radius: 0";
  root.append(make("div", {className: "controls"}, make("label", {}, "image ", digit), own),
    make("label", {className: "stretch"}, "angle ", angle, angleText), canvas,
    make("label", {className: "stretch"}, "tiles read ", place, placeText), verdict, picture);

  /** Which pixel, tile by tile, stands at each place of an image turned by an angle; -1 for none: rotation.py says how. */
  function turnedPlaces(angleInDegrees) {
    const radians = angleInDegrees % 360 * Math.PI / 180, fixed = number => Math.floor(number * 65536 + 0.5);
    const cosine = Math.cos(radians), sine = Math.sin(radians);
    const startOf = (perColumn, perRow) => fixed((side - (side - 1) * (perColumn + perRow)) / 2);
    const inTiles = (x, y) => (Math.floor(y / tile) * across + Math.floor(x / tile)) * tile * tile + y % tile * tile + x % tile;
    const found = new Array(side * side);
    for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
      const x = startOf(cosine, -sine) + fixed(cosine) * column + fixed(-sine) * row >> 16;
      const y = startOf(sine, cosine) + fixed(sine) * column + fixed(cosine) * row >> 16;
      found[inTiles(column, row)] = x >= 0 && x < side && y >= 0 && y < side ? inTiles(x, y) : -1;
    }
    return found;
  }

  function draw(pixels, read) {
    const pen = canvas.getContext("2d"), shown = pen.createImageData(side, side);
    pixels.forEach((pixel, number) => {
      const of = Math.floor(number / (tile * tile)), within = number % (tile * tile);
      const x = of % across * tile + within % tile, y = Math.floor(of / across) * tile + Math.floor(within / tile);
      const grey = 255 - pixel, isNew = of >= read;
      shown.data.set(isNew ? [grey * 0.35 + 150, grey * 0.35 + 150, grey * 0.35 + 150, 255] : [grey, grey, grey, 255], 4 * (y * side + x));
    });
    pen.putImageData(shown, 0, 0);
  }

  let model = null, columns = [], pixels = [];
  function answer() {
    if (model === null) return;
    const image = images[digit.value], {scale, shift} = zoo.encoding, size = tile * tile;
    pixels = turnedPlaces(Number(angle.value)).map(from => from < 0 ? 0 : image.pixels[from]);
    const inputs = [new Array(size).fill(0)];
    for (let from = 0; from < pixels.length; from += size) inputs.push(pixels.slice(from, from + size).map(pixel => pixel * scale + shift));
    columns = model.run(inputs);
    family.shown = {pixels, columns};
    update();
  }
  function update() {
    if (!columns.length) return;
    const read = Number(place.value), now = columns[read], named = now.indexOf(Math.max(...now)), image = images[digit.value];
    angleText.textContent = `${Number(angle.value).toFixed(0)}°`;
    placeText.textContent = `${read} of ${across * across}`;
    canvas.setAttribute("aria-label", `${nameOf(image, digit.value)}, turned by ${angle.value} degrees, ${read} tiles read`);
    verdict.textContent = `${image.label === null ? "" : named === image.label ? "✓ " : "✗ "}after ${read} tiles it answers ${zoo.outputs[named]}, with probability ${Math.exp(now[named]).toFixed(3)}`;
    draw(pixels, read);
    const names = columns.map((_, t) => t % across === 0 ? t : "");
    picture.replaceChildren(heatMap(zoo.outputs, columns, names, columns.map((_, t) => t === read ? named : null)));
  }
  let mine = 0;
  own.addEventListener("click", () => { angle.value = mine; answer(); });
  digit.addEventListener("change", answer);
  angle.addEventListener("input", answer);
  place.addEventListener("input", update);
  let shownRun = null;
  return (chosenModel, run, task) => {
    model = chosenModel;
    mine = degrees[run.task];
    if (run !== shownRun) angle.value = mine;
    shownRun = run;
    answer();
  };
};
