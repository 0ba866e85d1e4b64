// A square is [x, y, side]: a crop's centre and side in pixels of the picture, whose pixels have their centres at whole
// numbers. Crop units run from 0 to 1 across it. `recipe` is models.json's "crop".

/** The square that belongs to a box [x0, y0, x1, y1]. */
export function squareOfBox([x0, y0, x1, y1], { shift, scale }) {
  const [width, height] = [x1 - x0, y1 - y0];
  return [(x0 + x1) / 2 + shift[0] * width, (y0 + y1) / 2 + shift[1] * height, scale * Math.sqrt(width * height)];
}

/** A square in crop units of another one → in pixels. */
export function squareInPicture([x, y, side], square) {
  const [centre] = toPicture([[x, y]], square);
  return [...centre, side * square[2]];
}

/** Points [[u, v], …] in crop units → pixels. */
export function toPicture(points, [x, y, side]) {
  return points.map(([u, v]) => [x + side * (u - 0.5), y + side * (v - 0.5)]);
}

/** How far a point lies beyond the border of a picture, pixels; below 0 within it. */
export function beyond([x, y], { width, height }) {
  return Math.max(-0.5 - x, x - width + 0.5, -0.5 - y, y - height + 0.5);
}

/** The grey picture inside the square → Float32Array (size × size), 0 to 1: what the network sees. */
export function cut(grey, [x, y, side], { size, divisor }) {
  const samples = Math.min(Math.max(1, Math.round(side / size)), 512);
  const columns = taps(x, side, size * samples, grey.width);
  const rows = taps(y, side, size * samples, grey.height);
  const crop = new Float32Array(size * size);
  const share = 1 / (samples * samples * divisor);
  for (let j = 0; j < rows.length; j++) {
    const [upper, below] = rows[j];
    const from = upper * grey.width;
    const step = grey.height > 1 ? grey.width : 0;
    const line = Math.floor(j / samples) * size;
    for (let i = 0; i < columns.length; i++) {
      const [left, right] = columns[i];
      const next = grey.width > 1 ? 1 : 0;
      const at = from + left;
      const above = grey.data[at] * (1 - right) + grey.data[at + next] * right;
      const under = grey.data[at + step] * (1 - right) + grey.data[at + step + next] * right;
      crop[line + Math.floor(i / samples)] += (above * (1 - below) + under * below) * share;
    }
  }
  return crop;
}

/** Where the samples of one axis lie: the pixel before each, and the share of the one behind it. */
function taps(centre, side, count, length) {
  return Array.from({ length: count }, (_, i) => {
    const at = centre + side * ((i + 0.5) / count - 0.5);
    const inside = Math.min(Math.max(at, 0), length - 1); // beyond the border the edge goes on
    const before = Math.min(Math.floor(inside), Math.max(0, length - 2));
    return [before, inside - before];
  });
}

/** Yaw, pitch and roll in degrees → where the head's right, up and forward axes point in the picture, y down. */
export function headAxes([yaw, pitch, roll]) {
  const [y, p, r] = [yaw, pitch, roll].map((angle) => (angle * Math.PI) / 180);
  const [cy, sy, cp, sp, cr, sr] = [Math.cos(y), Math.sin(y), Math.cos(p), Math.sin(p), Math.cos(r), Math.sin(r)];
  return [
    [cr * cy, -(cr * sy * sp - sr * cp)],
    [sr * cy, -(sr * sy * sp + cr * cp)],
    [-sy, -(cy * sp)],
  ];
}

/** Variances [xx, xy, yy] → the ellipse of one standard deviation: half axes, the longer first, and its angle. */
export function ellipse([xx, xy, yy]) {
  const mean = (xx + yy) / 2;
  const apart = Math.hypot((xx - yy) / 2, xy);
  const half = [mean + apart, mean - apart].map((variance) => Math.sqrt(Math.max(variance, 0)));
  return { half, angle: Math.atan2(2 * xy, xx - yy) / 2 };
}
