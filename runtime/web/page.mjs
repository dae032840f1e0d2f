// The page: what is chosen, dropped or typed goes to the model in this browser, and nowhere else.

import {decode} from './picture.mjs';
import {Model} from './model.mjs';

const SHOWN = 5, FOUND = 24;
const at = id => document.getElementById(id);
const gallery = []; // {name, url, vector, picture}
let model, busy = Promise.resolve();

function say(text, isError = false) {
  at('said').textContent = text;
  at('said').classList.toggle('error', isError);
}

// One thing after the other; what goes wrong is said.
function then(work) {
  busy = busy.then(work).catch(error => say(error.message, true));
  return busy;
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A score as the length of a bar: cosines and probabilities as they are, others by how far the best is ahead.
function share(score, best) {
  const isShare = model.gives === 'probabilities' || (model.gives === 'embedding' && model.manifest.distance === 'cosine');
  return Math.min(1, Math.max(0, isShare ? score : Math.exp(score - best)));
}

function bars(list, scores) {
  const best = Model.best(scores, SHOWN);
  at(list).replaceChildren(...best.map(([index, score]) => {
    const bar = make('i', {});
    bar.style.width = `${100 * share(score, best[0][1])}%`;
    return make('li', {className: 'bar'}, make('b', {}, model.titles[index]), make('span', {}, score.toFixed(3)), bar);
  }));
  if (!best.length) at(list).replaceChildren(make('li', {}, 'The model knows no class yet: add one.'));
}

function showGallery(scores = null, what = '') {
  const order = scores ? Model.best(scores, FOUND) : gallery.map((_, index) => [index, null]);
  at('grid').replaceChildren(...order.map(([index, score]) => {
    const {name, url} = gallery[index], image = make('img', {src: url, alt: name});
    const button = make('button', {type: 'button', title: name}, image);
    if (score !== null) button.append(make('span', {}, score.toFixed(3)));
    button.addEventListener('click', () => then(() => ask(gallery[index].file)));
    return button;
  }));
  if (scores) at('found').textContent = `${gallery.length} pictures, nearest to ${what} first.`;
  else if (gallery.length) at('found').textContent = `${gallery.length} pictures. Choose one to ask about it.`;
}

async function ask(file) {
  const picture = await decode(file), start = performance.now(), {scores, vector} = await model.ask(picture);
  const took = performance.now() - start;
  URL.revokeObjectURL(at('asked').src);
  Object.assign(at('asked'), {src: URL.createObjectURL(file), hidden: false});
  bars('names', scores);
  if (vector && gallery.length) showGallery(model.similarities(vector, gallery.map(item => item.vector)), file.name);
  say(`${file.name}: ${picture.width} x ${picture.height}, read in ${took.toFixed(0)} ms`);
}

async function vectors(files) {
  const found = [], failed = [];
  for (const [number, file] of [...files].entries()) {
    say(`picture ${number + 1} of ${files.length} …`);
    try {
      const {vector} = await model.ask(await decode(file));
      if (!vector) throw new Error(`this model gives ${model.gives}, and no vectors to search by`);
      found.push({file, vector});
    } catch (error) {
      failed.push(error.message);
    }
  }
  if (!found.length) throw new Error(failed[0] ?? 'no picture was given');
  say([`${found.length} pictures read`, ...failed].join('; '), failed.length > 0);
  return found;
}

async function collect(files) {
  for (const {file, vector} of await vectors(files)) {
    gallery.push({file, vector, name: file.name, url: URL.createObjectURL(file)});
  }
  showGallery();
}

async function byWords(text) {
  const vector = await model.place(text);
  bars('near-words', model.similarities(vector, model.classes ?? []));
  if (gallery.length) showGallery(model.similarities(vector, gallery.map(item => item.vector)), `"${text}"`);
  say(`"${text}" was looked up`);
}

async function learn() {
  const name = at('class-name').value.trim(), files = at('examples').files;
  const own = files.length ? (await vectors(files)).map(item => item.vector) : [await model.place(name)];
  model.addClass(name, own);
  const from = files.length ? `${own.length} pictures` : 'its word';
  at('learned').textContent = `"${name}" was learned from ${from}; ${model.names.length} classes now.`;
  at('add').reset();
  at('examples').value = '';
  say(`"${name}" was added`);
}

const takes = {
  ask: files => ask(files[0]),
  gallery: collect,
  examples: files => { at('examples').files = files; },
};

function listen() {
  for (const id of ['picture', 'camera']) at(id).addEventListener('change', ({target}) => target.files.length && then(() => ask(target.files[0])));
  at('gallery').addEventListener('change', ({target}) => then(() => collect(target.files)));
  at('ask-words').addEventListener('submit', event => { event.preventDefault(); then(() => byWords(at('words').value)); });
  at('add').addEventListener('submit', event => { event.preventDefault(); then(learn); });
  for (const section of document.querySelectorAll('[data-drop]')) {
    section.addEventListener('dragover', event => { event.preventDefault(); section.classList.add('over'); });
    section.addEventListener('dragleave', () => section.classList.remove('over'));
    section.addEventListener('drop', event => {
      event.preventDefault();
      section.classList.remove('over');
      const {files} = event.dataTransfer;
      if (files.length) then(() => takes[section.dataset.drop](files));
    });
  }
}

function introduce() {
  const {title, about, network, input, figures, licences, files} = model.manifest;
  if (title) at('title').textContent = document.title = title;
  at('about').textContent = about ?? '';
  at('by-words').hidden = !model.manifest.words && !model.classes;
  at('yours').hidden = model.gives !== 'embedding' && !model.manifest.embedding;
  at('teach').hidden = model.gives !== 'embedding';
  const facts = {
    network, classes: model.names.length, picture: input.in_graph ? 'of any size' : input.crop.join(' x '),
    size: `${(files.float32.bytes / 1e6).toFixed(1)} MB`, ...figures, ...licences,
  };
  for (const [name, value] of Object.entries(facts)) {
    if (value !== null) at('facts').append(make('dt', {}, name), make('dd', {}, String(value)));
  }
}

const options = new URLSearchParams(location.search);
then(async () => {
  model = await Model.load(new URL('model/', location.href), options.get('network') ?? 'float32');
  introduce();
  listen();
  say(`Ready: ${model.names.length} classes. Nothing leaves this page.`);
  document.documentElement.dataset.ready = 'yes';
});
