// Grey pictures: {data: Uint8Array, width, height}, row by row.

/** RGBA pixels (ImageData) → grey, each pixel the rounded mean of factor × factor ones: what the detector looks at. */
export function shrunkGrey({ data, width, height }, factor) {
  const area = factor * factor;
  return means(width, height, factor, (x, y) => {
    let sum = 128 * area;
    for (let j = 0; j < factor; j++) {
      for (let i = 0, at = 4 * ((y + j) * width + x); i < factor; i++, at += 4) {
        sum += 77 * data[at] + 150 * data[at + 1] + 29 * data[at + 2];
      }
    }
    return Math.floor(Math.floor(sum / 256) / area);
  });
}

/** The same of a grey picture. */
export function shrunk({ data, width, height }, factor) {
  const area = factor * factor;
  return means(width, height, factor, (x, y) => {
    let sum = Math.floor(area / 2);
    for (let j = 0; j < factor; j++) {
      for (let i = 0, at = (y + j) * width + x; i < factor; i++, at++) sum += data[at];
    }
    return Math.floor(sum / area);
  });
}

function means(width, height, factor, mean) {
  const small = { width: Math.floor(width / factor), height: Math.floor(height / factor) };
  small.data = new Uint8Array(small.width * small.height);
  for (let y = 0, at = 0; y < small.height; y++) {
    for (let x = 0; x < small.width; x++, at++) small.data[at] = mean(x * factor, y * factor);
  }
  return small;
}

/** RGBA pixels → grey by ITU-R 601, rounded as Pillow does: what crops are cut from. */
export function luma({ data, width, height }) {
  const grey = new Uint8Array(width * height);
  for (let at = 0, from = 0; at < grey.length; at++, from += 4) {
    grey[at] = (19595 * data[from] + 38470 * data[from + 1] + 7471 * data[from + 2] + 32768) >> 16;
  }
  return { data: grey, width, height };
}
