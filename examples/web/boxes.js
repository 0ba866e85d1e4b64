// From the detector's raw outputs to boxes [x0, y0, x1, y1, score]. `recipe` is models.json's "detector".

/** How many times smaller than the picture each look is, the finest first. */
export function looks(width, height, recipe, minSize) {
  const longest = Math.max(width, height);
  const shortest = Math.min(width, height);
  const needed = Math.ceil(longest / recipe.longest);
  const wanted = minSize ? Math.floor(minSize / recipe.needed) : 1;
  const factors = [Math.max(1, Math.min(Math.max(needed, wanted), Math.floor(shortest / 32), 128))];
  while (shortest > recipe.whole * factors.at(-1)) factors.push(factors.at(-1) * recipe.coarser);
  return factors;
}

/** One level's five maps (5 × rows × columns numbers) → the boxes of all cells that score at least `least`. */
export function cells(maps, rows, columns, stride, least) {
  const found = [];
  const count = rows * columns;
  const logit = Math.log(least / (1 - least));
  for (let y = 0, at = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, at++) {
      if (maps[at] < logit) continue;
      const centreX = (x + maps[at + count]) * stride;
      const centreY = (y + maps[at + 2 * count]) * stride;
      const halfWidth = (Math.exp(Math.min(maps[at + 3 * count], 5)) * stride) / 2;
      const halfHeight = (Math.exp(Math.min(maps[at + 4 * count], 5)) * stride) / 2;
      const score = 1 / (1 + Math.exp(-maps[at]));
      found.push([centreX - halfWidth, centreY - halfHeight, centreX + halfWidth, centreY + halfHeight, score]);
    }
  }
  return found;
}

/** Boxes of single cells → one a face: the best score, and the mean box, weighted by a power of the scores. */
export function joined(boxes, { same, power }) {
  const faces = [];
  let left = [...boxes].sort((a, b) => b[4] - a[4]);
  while (left.length) {
    const best = left[0];
    const one = left.filter((box) => box === best || shared(best, box) >= same * union(best, box));
    left = left.filter((box) => !one.includes(box));
    const weights = one.map((box) => box[4] ** power);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const mean = [0, 1, 2, 3].map((i) => one.reduce((sum, box, k) => sum + weights[k] * box[i], 0) / total);
    faces.push([...mean, best[4]]);
  }
  return faces;
}

/** Those boxes that no better one is the same face as; the largest face first. */
export function distinct(boxes, { overlap, inside }) {
  const kept = [];
  for (const box of [...boxes].sort((a, b) => b[4] - a[4])) {
    const taken = kept.some((other) => {
      const common = shared(box, other);
      return common > overlap * union(box, other) || common > inside * Math.min(area(box), area(other));
    });
    if (!taken) kept.push(box);
  }
  return kept.sort((a, b) => area(b) - area(a));
}

/** Whether a look keeps a box of its own: the first look keeps small faces too, the last one large ones. */
export function ofLook(box, number, count, [low, high]) {
  const size = Math.sqrt(area(box));
  return (number === 0 || size >= low) && (number === count - 1 || size <= high);
}

export function area([x0, y0, x1, y1]) {
  return (x1 - x0) * (y1 - y0);
}

export function shared(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

function union(a, b) {
  return area(a) + area(b) - shared(a, b);
}
