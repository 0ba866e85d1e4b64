// The detector: finds faces in a whole picture, in several looks of different sizes.
import { cells, distinct, joined, looks, ofLook } from "./boxes.js";
import { shrunk, shrunkGrey } from "./pixels.js";

/** `run(name → tensor-like {data, dims})` is the network; `recipe` models.json's "detector". */
export class Finder {
  constructor(run, recipe) {
    this.run = run;
    this.recipe = recipe;
  }

  /** ImageData → boxes [x0, y0, x1, y1, score] in its pixels, the largest first. Faces below `minSize` may be missed. */
  async find(image, minSize) {
    const factors = looks(image.width, image.height, this.recipe, minSize);
    const found = [];
    let grey = null;
    for (const [number, factor] of factors.entries()) {
      grey = number === 0 ? shrunkGrey(image, factor) : shrunk(grey, factor / factors[number - 1]);
      const faces = joined(await this.cells(grey, number, factors.length), this.recipe);
      found.push(...faces.map(([x0, y0, x1, y1, score]) => [...[x0, y0, x1, y1].map((v) => v * factor), score]));
    }
    const { min_score: sure, only } = this.recipe;
    const counted = found.filter(([, , , , score]) => score >= sure);
    const given = counted.length ? counted : found.filter(([, , , , score]) => score >= only);
    return distinct(given, this.recipe).filter((box) => !minSize || (box[2] - box[0]) * (box[3] - box[1]) >= minSize ** 2);
  }

  async cells(grey, number, count) {
    const { strides, least, own_range: range } = this.recipe;
    const answer = await this.run({ grey: { data: Float32Array.from(grey.data), dims: [1, 1, grey.height, grey.width] } });
    const all = strides.flatMap((stride) => {
      const { data, dims } = answer[`level_${stride}`];
      return cells(data, dims[2], dims[3], stride, least);
    });
    return all.filter((box) => ofLook(box, number, count, range));
  }
}
