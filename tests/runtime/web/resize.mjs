// Reads cases as JSON from stdin, resizes as the page does, writes the pictures as JSON.
import {readFileSync} from 'node:fs';
import {resize, see} from '../../../runtime/web/picture.mjs';

const answers = JSON.parse(readFileSync(0, 'utf8')).map(({data, width, height, size, interpolation, input}) => {
  const picture = {data: new Uint8Array(Buffer.from(data, 'base64')), width, height};
  const found = input ? see(picture, input) : resize(picture, ...size, interpolation);
  return {data: Buffer.from(found.data).toString('base64'), shape: found.shape ?? [found.height, found.width, 3]};
});
process.stdout.write(JSON.stringify(answers));
