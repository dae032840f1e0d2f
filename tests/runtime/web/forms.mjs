// Fills in the page's forms as list.json says, one step after the other, and posts what the page shows after each.
import {at, choose, listed, post, said, until} from './frame.mjs';

const texts = id => [...at(id).querySelectorAll('b')].map(item => item.textContent);
const seen = () => ({
  said: said(), wrong: at('said').classList.contains('error'), learned: at('learned').textContent, names: texts('names'),
  near: texts('near-words'), gallery: [...at('grid').querySelectorAll('img')].map(image => image.alt),
});

const does = {
  gallery: pictures => choose('gallery', pictures),
  picture: name => choose('picture', [name]),
  words: text => { at('words').value = text; at('ask-words').requestSubmit(); },
  async add({name, pictures}) {
    at('class-name').value = name;
    if (pictures) await choose('examples', pictures);
    at('add').requestSubmit();
  },
};

const told = [];
for (const {does: what, with: value, until: text} of listed.steps) {
  at('said').textContent = '';
  await does[what](value);
  await until(() => said().includes(text));
  told.push(seen());
}
await post({told});
