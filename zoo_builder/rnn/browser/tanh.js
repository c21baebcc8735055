/* h' = tanh(h), of the one gate h. */
cells.tanh = {
  variables: 1,
  step: (inputPart, recurrentPart, [h]) => [h.map((_, unit) => Math.tanh(inputPart[unit] + recurrentPart[unit]))],
};
