// What a picture goes through before the network, as model.json's "input" says it, to the last bit: browsers scale
// canvases each in a way of their own. Plain arithmetic, which runs in Node too.
//
// A picture is {data: Uint8Array of RGB, width, height}.

const BITS = 22; // of Pillow's whole-numbered weights
const KERNELS = {
  bilinear: {support: 1, weight: x => Math.max(0, 1 - Math.abs(x))},
  bicubic: {support: 2, weight: cubic},
};

function cubic(value) {
  const a = -0.5, x = Math.abs(value);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// To the nearest whole number, half to even, as C's rint and Python's round.
function rint(value) {
  const low = Math.floor(value), rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

const clip = value => Math.min(255, Math.max(0, value));

// A picture at another size. "area": averaged over areas where both sides shrink, else bilinear, as OpenCV does both;
// other names are Pillow's.
export function resize(picture, width, height, interpolation) {
  if (picture.width === width && picture.height === height) return picture;
  if (interpolation === 'area') {
    return width < picture.width && height < picture.height
      ? byAreas(picture, width, height) : linear(picture, width, height);
  }
  if (interpolation === 'nearest') return nearest(picture, width, height);
  const kernel = KERNELS[interpolation];
  if (!kernel) throw new Error(`this page does not know the interpolation ${interpolation}`);
  return filtered(picture, width, height, kernel);
}

function byAreas({data, width: oldWidth, height: oldHeight}, width, height) {
  const [x, y] = [1 / (width / oldWidth), 1 / (height / oldHeight)];
  const [wholeX, wholeY] = [Math.round(x), Math.round(y)];
  const result = new Uint8Array(width * height * 3);
  if (Math.max(Math.abs(x - wholeX), Math.abs(y - wholeY)) < Number.EPSILON) {
    const part = Math.fround(1 / (wholeX * wholeY)), isHalf = wholeX === 2 && wholeY === 2;
    for (let row = 0, to = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        for (let channel = 0; channel < 3; channel++, to++) {
          let sum = 0;
          for (let i = 0; i < wholeY; i++) {
            let from = ((row * wholeY + i) * oldWidth + column * wholeX) * 3 + channel;
            for (let j = 0; j < wholeX; j++, from += 3) sum += data[from];
          }
          result[to] = isHalf ? (sum + 2) >> 2 : rint(Math.fround(sum * part));
        }
      }
    }
    return {data: result, width, height};
  }
  const [across, down] = [overlaps(oldWidth, width, x), overlaps(oldHeight, height, y)];
  const columns = new Float32Array(oldHeight * width * 3); // every sum is rounded to float32, as OpenCV's are
  for (let row = 0; row < oldHeight; row++) {
    for (let column = 0; column < width; column++) {
      const to = (row * width + column) * 3;
      for (const [place, weight] of across[column]) {
        const from = (row * oldWidth + place) * 3;
        for (let channel = 0; channel < 3; channel++) columns[to + channel] += Math.fround(data[from + channel] * weight);
      }
    }
  }
  const line = new Float32Array(width * 3);
  for (let row = 0; row < height; row++) {
    line.fill(0);
    for (const [place, weight] of down[row]) {
      const from = place * width * 3;
      for (let i = 0; i < line.length; i++) line[i] += Math.fround(columns[from + i] * weight);
    }
    for (let i = 0; i < line.length; i++) result[row * width * 3 + i] = clip(rint(line[i]));
  }
  return {data: result, width, height};
}

// Which old pixels each new one covers, and how much of it they are: for each a list of [place, weight].
function overlaps(old, size, scale) {
  return Array.from({length: size}, (_, place) => {
    const low = place * scale, high = low + scale, cell = Math.min(scale, old - low);
    const last = Math.min(Math.floor(high), old - 1), first = Math.min(Math.ceil(low), last);
    const taps = first - low > 1e-3 ? [[first - 1, (first - low) / cell]] : [];
    for (let pixel = first; pixel < last; pixel++) taps.push([pixel, 1 / cell]);
    if (high - last > 1e-3) taps.push([last, Math.min(high - last, 1, cell) / cell]);
    return taps.map(([pixel, weight]) => [pixel, Math.fround(weight)]);
  });
}

function linear({data, width: oldWidth, height: oldHeight}, width, height) {
  const across = neighbours(oldWidth, width, true), down = neighbours(oldHeight, height, false);
  const columns = new Int32Array(oldHeight * width * 3), result = new Uint8Array(width * height * 3);
  for (let row = 0; row < oldHeight; row++) {
    for (let column = 0; column < width; column++) {
      const [first, second, weight, other] = across[column], to = (row * width + column) * 3;
      const [a, b] = [(row * oldWidth + first) * 3, (row * oldWidth + second) * 3];
      for (let i = 0; i < 3; i++) columns[to + i] = data[a + i] * weight + data[b + i] * other;
    }
  }
  for (let row = 0; row < height; row++) {
    const [first, second, weight, other] = down[row], to = row * width * 3;
    const [a, b] = [first * width * 3, second * width * 3];
    for (let i = 0; i < width * 3; i++) {
      const [high, low] = [((columns[a + i] >> 4) * weight) >> 16, ((columns[b + i] >> 4) * other) >> 16];
      result[to + i] = (high + low + 2) >> 2;
    }
  }
  return {data: result, width, height};
}

// For each new pixel the two old ones beside its middle, and what each counts, of 2048. Beyond the first and last one
// both are the same; with `ends` it then counts once, else in two parts, each rounded.
function neighbours(old, size, ends) {
  const scale = 1 / (size / old);
  return Array.from({length: size}, (_, place) => {
    const middle = Math.fround((place + 0.5) * scale - 0.5), first = Math.floor(middle);
    const part = ends && (first < 0 || first >= old - 1) ? 0 : Math.fround(middle - first);
    const inside = pixel => Math.min(old - 1, Math.max(0, pixel));
    return [inside(first), inside(first + 1), rint(Math.fround(1 - part) * 2048), rint(part * 2048)];
  });
}

function nearest({data, width: oldWidth, height: oldHeight}, width, height) {
  const places = (old, size) => {
    const step = old / size, found = new Int32Array(size);
    for (let i = 0, at = step * 0.5; i < size; i++, at += step) found[i] = Math.min(old - 1, Math.floor(at));
    return found;
  };
  const [columns, rows] = [places(oldWidth, width), places(oldHeight, height)];
  const result = new Uint8Array(width * height * 3);
  let to = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * oldWidth + column) * 3;
      for (let i = 0; i < 3; i++) result[to++] = data[from + i];
    }
  }
  return {data: result, width, height};
}

// Pillow's filters, which widen where a side shrinks: across, rounded to bytes, then down; since Pillow 13 the other
// way round where the height shrinks by more than twice as many pixels as the width.
function filtered(picture, width, height, kernel) {
  const across = ({data, width: old, height: lines}) => old === width ? {data, width, height: lines} : {
    data: pass(data, lines, old * 3, 3, weights(old, width, kernel), width * 3, 3, lines * width * 3),
    width, height: lines,
  };
  const down = ({data, width: lines, height: old}) => old === height ? {data, width: lines, height} : {
    data: pass(data, lines, 3, lines * 3, weights(old, height, kernel), 3, lines * 3, lines * height * 3),
    width: lines, height,
  };
  const [lessHigh, lessWide] = [picture.height - height, picture.width - width];
  return lessHigh > 0 && lessHigh > 2 * lessWide ? across(down(picture)) : down(across(picture));
}

// Lines of pixels, `line` bytes apart, whose pixels are `step` bytes apart; `toLine` and `toStep` are the result's.
function pass(data, lines, line, step, taps, toLine, toStep, bytes) {
  const result = new Uint8Array(bytes);
  for (let number = 0; number < lines; number++) {
    taps.forEach(([low, whole], place) => {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 2 ** (BITS - 1), from = number * line + low * step + channel;
        for (let i = 0; i < whole.length; i++, from += step) sum += data[from] * whole[i];
        result[number * toLine + place * toStep + channel] = clip(Math.floor(sum / 2 ** BITS));
      }
    });
  }
  return result;
}

function weights(old, size, {support, weight}) {
  const scale = old / size, wide = Math.max(scale, 1), reach = support * wide;
  return Array.from({length: size}, (_, place) => {
    const centre = (place + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - reach + 0.5)), high = Math.min(old, Math.trunc(centre + reach + 0.5));
    const found = Array.from({length: high - low}, (_, i) => weight((i + low - centre + 0.5) * (1 / wide)));
    const sum = found.reduce((a, b) => a + b, 0);
    return [low, found.map(value => Math.trunc((value / sum) * 2 ** BITS + (value < 0 ? -0.5 : 0.5)))];
  });
}

// The rectangle of a picture that begins at (x, y).
export function cut({data, width: oldWidth}, x, y, width, height) {
  const result = new Uint8Array(width * height * 3);
  for (let row = 0; row < height; row++) {
    const from = ((y + row) * oldWidth + x) * 3;
    result.set(data.subarray(from, from + width * 3), row * width * 3);
  }
  return {data: result, width, height};
}

// What the network sees of a picture: {data: Uint8Array, shape}, without the batch.
export function see(picture, input) {
  if (input.in_graph) return {data: picture.data, shape: [picture.height, picture.width, 3]};
  const [height, width] = input.crop, views = [sized(picture, input)];
  for (const share of input.views ?? []) {
    const [x, y] = [picture.width, picture.height].map(side => Math.trunc((side * (1 - share)) / 2));
    views.push(sized(cut(picture, x, y, picture.width - 2 * x, picture.height - 2 * y), input));
  }
  if (!input.views) return {data: views[0].data, shape: [height, width, 3]};
  const data = new Uint8Array(views.length * height * width * 3);
  views.forEach((view, number) => data.set(view.data, number * height * width * 3));
  return {data, shape: [views.length, height, width, 3]};
}

function sized(picture, {resize: {size, keep_aspect: keepAspect, interpolation}, crop: [height, width]}) {
  const scale = size / Math.min(picture.width, picture.height);
  const side = old => (keepAspect ? Math.max(size, rint(old * scale)) : size);
  const resized = resize(picture, side(picture.width), side(picture.height), interpolation);
  return cut(resized, Math.floor((resized.width - width) / 2), Math.floor((resized.height - height) / 2), width, height);
}

// The picture in a file, turned by its EXIF orientation, transparency on white, colours as they stand in the file.
export async function decode(file) {
  const options = {imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none'};
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, options);
  } catch {
    throw new Error(`${file.name ?? 'this file'} is no picture that this browser can read: save it as JPEG or PNG`);
  }
  const {width, height} = bitmap, canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.fillStyle = 'white';
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data, data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    data[to] = rgba[from];
    data[to + 1] = rgba[from + 1];
    data[to + 2] = rgba[from + 2];
  }
  return {data, width, height};
}
