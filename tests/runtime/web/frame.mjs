// The page in a frame, used as a person would.
const frame = document.querySelector('iframe');
const inside = () => frame.contentDocument;

export const at = id => inside().getElementById(id);
export const said = () => at('said').textContent;

export async function until(holds) {
  for (let i = 0; i < 3000 && !holds(); i++) await new Promise(done => setTimeout(done, 50));
}

export async function choose(id, names) {
  const chosen = new DataTransfer();
  for (const name of names) {
    chosen.items.add(new File([await (await fetch(`trial/${name}`)).blob()], name.split('/').pop(), {type: 'image/jpeg'}));
  }
  at(id).files = chosen.files;
  at(id).dispatchEvent(new Event('change'));
}

export const listed = await (await fetch('trial/list.json')).json();
export const post = told => fetch('done', {method: 'POST', body: JSON.stringify(told)});
await until(() => inside()?.documentElement.dataset.ready);
