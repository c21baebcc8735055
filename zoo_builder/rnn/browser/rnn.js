/* A stack of recurrent layers with a linear head, for one sequence, in float64 from the float32 weights of a zoo.
   `cells` has the step of each cell that a page needs: that of the zoo's own stands in its file beside this one. */

const cells = {};

/** W x + b: weight [rows, columns] row by row, bias [rows], x [columns] -> [rows]. */
function affine(weight, bias, x) {
  const result = new Float64Array(bias.length);
  for (let row = 0; row < bias.length; row++) {
    let sum = bias[row];
    for (let column = 0, place = row * x.length; column < x.length; column++) sum += weight[place + column] * x[column];
    result[row] = sum;
  }
  return result;
}

const sigmoid = x => 1 / (1 + Math.exp(-x));

/** Log-probabilities in nats from logits [O]. */
function logSoftmax(logits) {
  const most = Math.max(...logits);
  const norm = most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
  return logits.map(logit => logit - norm);
}

class RNN {
  /** spec: that of the manifest. weights: name -> Float32Array, in the order of the tensor. */
  constructor(spec, weights) {
    Object.assign(this, {spec, weights, cell: cells[spec.cell]});
  }

  /** The state before the first step: for each layer its variables [H], all zero. */
  start() {
    const variables = () => Array.from({length: this.cell.variables}, () => new Float64Array(this.spec.hidden_size));
    return Array.from({length: this.spec.num_layers}, variables);
  }

  /** One step: input [D] and a state -> log-probabilities [O] and the next state. */
  step(input, state) {
    const of = name => this.weights[`${this.spec.cell}.${name}`];
    const next = [];
    let x = input;
    for (let layer = 0; layer < this.spec.num_layers; layer++) {
      const inputPart = affine(of(`weight_ih_l${layer}`), of(`bias_ih_l${layer}`), x);
      const recurrentPart = affine(of(`weight_hh_l${layer}`), of(`bias_hh_l${layer}`), state[layer][0]);
      next.push(this.cell.step(inputPart, recurrentPart, state[layer]));
      x = next[layer][0];
    }
    return {logProbabilities: logSoftmax(affine(this.weights["head.weight"], this.weights["head.bias"], x)), state: next};
  }

  /** Inputs, T of [D] -> log-probabilities, T of [O]. */
  run(inputs) {
    let state = this.start();
    return inputs.map(input => {
      const done = this.step(input, state);
      state = done.state;
      return done.logProbabilities;
    });
  }
}
