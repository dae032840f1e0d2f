// A model in the folder that an export.py wrote, run by onnxruntime-web. What it answers is what
// runtime/image_embeddings.py answers.

import * as ort from './ort/ort.wasm.min.mjs';
import {see} from './picture.mjs';

ort.env.wasm.wasmPaths = new URL('./ort/', import.meta.url).href;

const plain = name => parts(name.toLowerCase()).join(' ');
const parts = name => name.split(/[\s+_-]+/).filter(part => part);

// How a list of words may spell a name: itself, then its words joined.
function spellings(name) {
  const words = parts(name), forms = [name, name.toLowerCase()];
  if (words.length < 2) return forms;
  const capital = word => word[0].toUpperCase() + word.slice(1).toLowerCase();
  for (const change of [word => word, word => word.toLowerCase(), capital]) {
    const spelled = words.map(change);
    forms.push(spelled.join('_'), spelled.join('-'), spelled.join(' '));
  }
  return forms;
}

// The words of a sentence in lower case, without punctuation; a Chinese or Japanese character is a word.
function tokenise(text) {
  const alone = '[\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}]';
  const letter = `(?!${alone})[\\p{L}\\p{N}\\p{M}]`;
  const sentence = text.toLowerCase().replaceAll('’', "'").normalize('NFC');
  return sentence.match(new RegExp(`${alone}\\p{M}*|${letter}+(?:'${letter}+)*`, 'gu')) ?? [];
}

// An array of float32 in NumPy's format: {data, rows, size}.
export function readArray(bytes, name) {
  const view = new DataView(bytes);
  const start = view.getUint8(6) === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  const header = new TextDecoder().decode(new Uint8Array(bytes, 1, start - 1)); // behind the byte 0x93
  const shape = header.match(/'shape': \((\d+),? ?(\d*)\)/);
  if (!header.startsWith('NUMPY') || !header.includes("'<f4'") || !header.includes("'fortran_order': False") || !shape) {
    throw new Error(`${name} is no array of float32 that this page can read: export the model again`);
  }
  const [rows, size] = shape[2] ? [Number(shape[1]), Number(shape[2])] : [1, Number(shape[1])];
  return {data: new Float32Array(bytes.slice(start)), rows, size};
}

export function unit(vector) {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return vector.map(value => value / Math.max(length, 1e-12));
}

export class Model {
  // Reads model.json and the network in the folder at the address `base`, which ends in a slash.
  static async load(base, kind = 'float32') {
    const model = new Model(), response = await fetch(new URL('model.json', base));
    if (!response.ok) throw new Error(`no model at ${base}: start serve.py with the folder that export.py wrote`);
    const manifest = await response.json();
    if (manifest.format !== 'image-embeddings model' || manifest.version !== 1) {
      throw new Error(`${base}model.json is of another format or version: this page reads version 1`);
    }
    if (!manifest.files[kind]) throw new Error(`this model has no ${kind} network: export it with --pictures`);
    if (manifest.input.mean || !['NHWC', 'NVHWC'].includes(manifest.input.layout)) {
      throw new Error('this page reads networks that take plain pictures, channels last');
    }
    Object.assign(model, {base, manifest, words: null});
    const {file, sha256} = manifest.files[kind];
    model.network = await model.session(file, sha256);
    model.names = [...manifest.classes.names];
    model.titles = [...(manifest.classes.titles ?? manifest.classes.names)];
    const listed = manifest.classes.file;
    model.classes = listed ? model.rows(await model.array(listed)) : null;
    return model;
  }

  get gives() {
    return this.manifest.output.kind;
  }

  // A file of the folder, after its SHA-256 was compared.
  async bytes(name, sha256 = this.manifest.sha256[name]) {
    const response = await fetch(new URL(name, this.base));
    if (!response.ok) throw new Error(`cannot read ${name} (${response.status}): export the model again`);
    if (!globalThis.crypto?.subtle) throw new Error('a browser checks files at http://localhost or https alone: open it there');
    const bytes = await response.arrayBuffer();
    const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    if (Array.from(sum, byte => byte.toString(16).padStart(2, '0')).join('') !== sha256) {
      throw new Error(`${name} does not match its SHA-256 in model.json: it is damaged, export the model again`);
    }
    return bytes;
  }

  async array(name) {
    return readArray(await this.bytes(name), name);
  }

  rows({data, rows, size}) {
    return Array.from({length: rows}, (_, row) => data.subarray(row * size, (row + 1) * size));
  }

  async session(name, sha256) {
    const bytes = new Uint8Array(await this.bytes(name, sha256));
    return ort.InferenceSession.create(bytes, {executionProviders: ['wasm'], logSeverityLevel: 3});
  }

  // What a picture is: {scores, vector} - a number for each class, and what pictures are compared by (or null).
  async ask(picture) {
    const {input, output, embedding} = this.manifest, {data, shape} = see(picture, input);
    const found = await this.network.run({[input.name]: new ort.Tensor('uint8', data, [1, ...shape])});
    const first = found[output.name].data;
    const vector = embedding ? found[embedding.name].data : this.gives === 'embedding' ? first : null;
    const scores = this.gives === 'embedding' ? this.similarities(first, this.classes ?? []) : Array.from(first);
    return {scores, vector};
  }

  // How near a vector is to others, by the model's distance: larger is nearer.
  similarities(vector, others) {
    const distance = this.manifest.distance ?? 'cosine', own = distance === 'cosine' ? unit(vector) : vector;
    return others.map(other => {
      const row = distance === 'cosine' ? unit(other) : other;
      if (distance === 'euclidean') return -Math.sqrt(own.reduce((sum, value, i) => sum + (value - row[i]) ** 2, 0));
      return own.reduce((sum, value, i) => sum + value * row[i], 0);
    });
  }

  // The best `k` of scores: a list of [index, score].
  static best(scores, k) {
    return Array.from(scores, (score, index) => [index, score]).sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, k);
  }

  // Where words are among the pictures.
  async place(text) {
    const about = this.manifest.words, asked = plain(text);
    if (!asked) throw new Error('nothing to look for: type a word');
    for (const names of this.classes ? [this.names, this.titles] : []) {
      const number = names.findIndex(name => plain(name) === asked);
      if (number >= 0) return this.classes[number];
    }
    if (!about) throw new Error(`this model knows no words, "${text}" among them`);
    this.words ??= await this.space(about);
    if (about.network) return this.sentence(text, about);
    let vector = this.lookUp(text);
    const {centre, matrix} = this.words;
    if (centre) vector = vector.map((value, i) => value - centre[i]);
    if (matrix) {
      const moved = new Float32Array(matrix.size);
      vector.forEach((value, row) => moved.forEach((_, i) => (moved[i] += value * matrix.data[row * matrix.size + i])));
      vector = moved;
    }
    return this.manifest.distance === 'cosine' ? unit(vector) : vector;
  }

  async space(about) {
    const lines = new TextDecoder().decode(await this.bytes(about.list)).split('\n').slice(0, -1), numbers = new Map();
    lines.forEach((word, number) => numbers.has(word) || numbers.set(word, number));
    if (about.network) return {numbers, network: await this.session(about.network)};
    const [vectors, centre, matrix] = await Promise.all(
      [about.vectors, about.centre, about.matrix].map(name => name && this.array(name)),
    );
    return {numbers, vectors: this.rows(vectors), centre: centre?.data, matrix};
  }

  lookUp(text) {
    const {numbers, vectors} = this.words, form = spellings(text).find(spelled => numbers.has(spelled));
    if (form !== undefined) return vectors[numbers.get(form)];
    const words = parts(text);
    if (words.length < 2) throw new Error(`no word vector for "${text}" among ${numbers.size} words: take another`);
    const found = words.map(word => this.lookUp(word));
    return found[0].map((_, i) => found.reduce((sum, row) => sum + row[i], 0) / found.length);
  }

  async sentence(text, about) {
    const words = about.tokens === 'words' ? tokenise(text) : text.split(/\s+/).filter(word => word);
    const ids = [...words.map(word => this.words.numbers.get(word) ?? 1), 0];
    const found = await this.words.network.run({
      words: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [ids.length, 1]),
      lengths: new ort.Tensor('int32', Int32Array.of(ids.length), [1]),
    });
    return found.embedding.data;
  }

  // Let pictures be named by one more class, at the mean of some vectors.
  addClass(name, vectors) {
    if (this.gives !== 'embedding') throw new Error(`this model gives ${this.gives} of its classes, and takes no new one`);
    if (!plain(name)) throw new Error('a class needs a name');
    if ([...this.names, ...this.titles].some(known => plain(known) === plain(name))) {
      throw new Error(`there is a class "${name}" already: give another name`);
    }
    const mean = vectors[0].map((_, i) => vectors.reduce((sum, row) => sum + row[i], 0) / vectors.length);
    this.classes = [...(this.classes ?? []), this.manifest.distance === 'cosine' ? unit(mean) : mean];
    this.names.push(name);
    this.titles.push(name);
  }
}
