// Asks the page's own modules about each picture of list.json, by each of its networks, and posts what they answer.
import {decode} from './picture.mjs';
import {Model} from './model.mjs';

async function trial(kind, {pictures, words}) {
  const model = await Model.load(new URL('model/', location.href), kind), answers = [], seconds = [];
  for (const name of pictures) {
    const picture = await decode(await (await fetch(`trial/${name}`)).blob());
    const start = performance.now(), {scores, vector} = await model.ask(picture);
    seconds.push((performance.now() - start) / 1000);
    answers.push({best: Model.best(scores, 5), vector: vector && Array.from(vector), size: [picture.width, picture.height]});
  }
  const places = [];
  for (const text of words) places.push(await model.place(text).then(found => Array.from(found), error => error.message));
  const told = {answers, places, seconds, titles: model.titles};
  if (model.gives !== 'embedding') return told;
  model.addClass('a new class', answers.slice(0, 5).map(({vector}) => vector));
  return {...told, added: Array.from(model.classes.at(-1))};
}

async function all(listed) {
  const told = {};
  for (const kind of listed.networks) told[kind] = await trial(kind, listed);
  return told;
}

const listed = await (await fetch('trial/list.json')).json();
const told = await all(listed).catch(error => ({error: String(error.stack ?? error)}));
await fetch('done', {method: 'POST', body: JSON.stringify(told)});
