/* c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c'), gates i, f, g, o. */
cells.lstm = {
  variables: 2,
  step(inputPart, recurrentPart, [h, c]) {
    const size = h.length;
    const gate = (number, unit) => inputPart[number * size + unit] + recurrentPart[number * size + unit];
    const nextC = c.map((old, unit) => sigmoid(gate(1, unit)) * old + sigmoid(gate(0, unit)) * Math.tanh(gate(2, unit)));
    return [nextC.map((value, unit) => sigmoid(gate(3, unit)) * Math.tanh(value)), nextC];
  },
};
