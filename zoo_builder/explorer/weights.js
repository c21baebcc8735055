/* Rows of a safetensors file by HTTP byte ranges: the weights of one checkpoint, and nothing else of its shard. */

class Shard {
  constructor(url) {
    this.url = url;
    this.whole = null;  // of a server that knows no ranges
    this.headerRead = null;
  }

  /** Bytes from `start` to before `end`. */
  async bytes(start, end) {
    if (this.whole === null) {
      const response = await fetch(this.url, {headers: {Range: `bytes=${start}-${end - 1}`}});
      if (!response.ok) throw new Error(`${this.url}: the server answered ${response.status}`);
      const content = await response.arrayBuffer();
      if (response.status === 206) return content;
      this.whole = content;
    }
    return this.whole.slice(start, end);
  }

  /** Where the data begin, and name -> {shape, data_offsets}. */
  header() {
    this.headerRead ??= (async () => {
      const length = Number(new DataView(await this.bytes(0, 8)).getBigUint64(0, true));
      const {__metadata__, ...tensors} = JSON.parse(new TextDecoder().decode(await this.bytes(8, 8 + length)));
      return {start: 8 + length, tensors};
    })();
    this.headerRead.catch(() => { this.headerRead = null; });  // a connection that was cut may be there again
    return this.headerRead;
  }

  /** The tensors of one of the N models of a file, name -> Float32Array. */
  async row(row) {
    const {start, tensors} = await this.header();
    const read = async ([name, {shape, data_offsets: [begin]}]) => {
      const bytes = 4 * shape.slice(1).reduce((product, length) => product * length, 1);
      const from = start + begin + row * bytes;
      return [name, new Float32Array(await this.bytes(from, from + bytes))];
    };
    return Object.fromEntries(await Promise.all(Object.entries(tensors).map(read)));
  }
}
