// Searches by words among pictures, then asks about one, and waits until the page has answered.
import {at, choose, listed, post, said, until} from './frame.mjs';

const {ask, gallery, words} = listed;
await choose('gallery', gallery);
await until(() => /pictures read/.test(said()));
at('words').value = words;
at('ask-words').requestSubmit();
await until(() => /was looked up/.test(said()));
await choose('picture', [ask]);
await until(() => /read in/.test(said()));
await post({said: said()});
