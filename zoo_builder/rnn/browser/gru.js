/* n = tanh(n_input + sigmoid(r) n_recurrent);  h' = (1 - sigmoid(z)) n + sigmoid(z) h, gates r, z, n. */
cells.gru = {
  variables: 1,
  step(inputPart, recurrentPart, [h]) {
    const size = h.length;
    const gate = (number, unit) => sigmoid(inputPart[number * size + unit] + recurrentPart[number * size + unit]);
    return [h.map((old, unit) => {
      const n = Math.tanh(inputPart[2 * size + unit] + gate(0, unit) * recurrentPart[2 * size + unit]);
      return (1 - gate(1, unit)) * n + gate(1, unit) * old;
    })];
  },
};
