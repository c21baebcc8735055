/* An RNN is shown bits that the user types, and names the next bit of its secret after each, or x. */
family.panel = (root, zoo) => {
  const {secrets, begin} = zoo.family, depth = secrets[0].length;
  const shown = make("input", {type: "text", size: depth, maxLength: depth - 1, inputMode: "numeric", placeholder: "such as 011"});
  const followed = make("input", {type: "checkbox", checked: true});
  const written = make("p", {className: "words"}), verdict = make("p", {className: "caption"}), picture = make("div");
  root.append(make("div", {className: "controls"}, make("label", {}, "bits ", shown),
    make("label", {}, followed, " its own answers follow")), written, verdict, picture);
  const oneHot = token => [0, 1, begin].map(other => Number(other === token));
  let current = null;
  function update() {
    if (current === null) return;
    const wrong = [...shown.value].find(sign => sign !== "0" && sign !== "1");
    shown.setCustomValidity(wrong ? `found ${wrong}, expected bits` : "");
    if (wrong) { verdict.textContent = shown.validationMessage; return; }
    const bits = [...shown.value].map(Number), columns = [], named = [];
    let state = current.model.start(), token = begin;
    while (columns.length < depth) {
      const done = current.model.step(oneHot(token), state);
      state = done.state;
      columns.push(done.logProbabilities);
      named.push(done.logProbabilities.indexOf(Math.max(...done.logProbabilities)));
      const next = bits[columns.length - 1] ?? (followed.checked ? named.at(-1) : undefined);
      if (columns.length === depth || next === undefined || next > 1) break;
      token = bits[columns.length - 1] = next;
    }
    const secret = secrets[zoo.tasks.indexOf(current.task)];
    const follows = place => secret.slice(0, place).every((bit, number) => bit === bits[number]);
    const right = named.map((_, place) => follows(place) ? secret[place] : 2);
    const isRight = right.every((answer, place) => answer === named[place]);
    written.textContent = named.map(answer => zoo.outputs[answer]).join("");
    verdict.textContent = `${isRight ? "✓ as the lock" : "✗ the lock"} answers ${right.map(answer => zoo.outputs[answer]).join("")}; x says that a bit was wrong. `
      + "Below: how probable each answer is; above each column the bit that came before it.";
    picture.replaceChildren(heatMap(zoo.outputs, columns, columns.map((_, t) => t ? bits[t - 1] : ""), named));
    family.shown = {bits, columns};
  }
  shown.addEventListener("input", update);
  followed.addEventListener("change", update);
  return (model, run, task) => { current = {model, task}; update(); };
};
