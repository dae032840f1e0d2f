// Asks the page's own modules about each picture of list.json, and posts what they answer.
import {decode} from './picture.mjs';
import {Model} from './model.mjs';

async function trial() {
  const {pictures, words} = await (await fetch('trial/list.json')).json();
  const model = await Model.load(new URL('model/', location.href)), answers = [], seconds = [];
  for (const name of pictures) {
    const picture = await decode(await (await fetch(`trial/${name}`)).blob());
    const start = performance.now(), {scores, vector} = await model.ask(picture);
    seconds.push((performance.now() - start) / 1000);
    answers.push({best: Model.best(scores, 5), vector: Array.from(vector), size: [picture.width, picture.height]});
  }
  const places = [];
  for (const text of words) places.push(await model.place(text).then(found => Array.from(found), error => error.message));
  const vectors = answers.slice(0, 5).map(({vector}) => vector);
  model.addClass('a new class', vectors);
  return {answers, places, seconds, added: Array.from(model.classes.at(-1)), titles: model.titles};
}

const told = await trial().catch(error => ({error: String(error.stack ?? error)}));
await fetch('done', {method: 'POST', body: JSON.stringify(told)});
