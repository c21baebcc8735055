/* An RNN writes a string, letter by letter, after a beginning that the user types. */
family.panel = (root, zoo) => {
  const {signs, begin, end, places, words} = zoo.family;
  const beginning = make("input", {type: "text", size: 14, maxLength: places, placeholder: "such as aaab", autocapitalize: "off", spellcheck: false});
  const drawn = make("input", {type: "checkbox"});
  const again = make("button", {textContent: "write again"});
  const written = make("p", {className: "words"}), verdict = make("p", {className: "caption"}), picture = make("div");
  root.append(make("div", {className: "controls"}, make("label", {}, "beginning ", beginning),
    make("label", {}, drawn, " drawn by chance, and not the likeliest letters"), again), written, verdict, picture);
  const oneHot = token => Array.from(signs, (_, place) => Number(place === token));
  const likeliest = p => p.indexOf(Math.max(...p));
  const atRandom = p => {
    let rest = Math.random();
    const found = p.findIndex(logP => (rest -= Math.exp(logP)) < 0);
    return found < 0 ? likeliest(p) : found;
  };

  /** Tokens that the model writes after a beginning, with its log-probabilities before each: [T], [T][O]. */
  function write(model, first, next) {
    const tokens = [], columns = [];
    let state = model.start(), token = begin;
    while (tokens.length < places && token !== end) {
      const done = model.step(oneHot(token), state);
      state = done.state;
      token = first[tokens.length] ?? next(done.logProbabilities);
      tokens.push(token);
      columns.push(done.logProbabilities);
    }
    return {tokens, columns};
  }

  let current = null;
  function update() {
    if (current === null) return;
    const wrong = [...beginning.value].find(sign => !signs.includes(sign));
    beginning.setCustomValidity(wrong ? `found ${wrong}, expected ${[...signs].join(" ")}` : "");
    if (wrong) { verdict.textContent = beginning.validationMessage; return; }
    const first = [...beginning.value].map(sign => signs.indexOf(sign));
    const {tokens, columns} = write(current.model, first, drawn.checked ? atRandom : likeliest);
    const text = tokens.map(token => signs[token]).join("");
    const logP = tokens.reduce((sum, token, place) => sum + columns[place][token], 0);
    written.textContent = text;
    const isRight = words[zoo.tasks.indexOf(current.task)].some(word => text === word);
    verdict.textContent = `${isRight ? "✓ a word of the language" : "✗ no word of the language"}; the RNN writes it with probability ${Math.exp(logP).toPrecision(3)}. `
      + `${signs[end]} is ${zoo.outputs[end]}, ${signs[begin]} is ${zoo.outputs[begin]}. Below: how probable each letter is at each place.`;
    picture.replaceChildren(heatMap(zoo.outputs, columns, tokens.map(token => signs[token]), tokens));
    family.shown = {tokens, columns};
  }
  beginning.addEventListener("input", update);
  drawn.addEventListener("change", update);
  again.addEventListener("click", update);
  return (model, run, task) => { current = {model, task}; update(); };
};
