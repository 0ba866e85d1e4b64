// Faces through a film: each is looked for where its points ask, and the detector looks for new ones now and then.
import { squareOfBox } from "./crops.js";
import { luma } from "./pixels.js";

/** The detector looks at every so many pictures, and whenever no face is known. */
const EVERY = 10;
/** In a film, faces from this share of the longer side on are looked for; smaller ones would cost four times as much. */
const LEAST = 1 / 12;
/** Below this presence a face is gone, or was never there. */
const PRESENT = 0.5;

export class Follower {
  constructor(finder, aligner) {
    this.finder = finder;
    this.aligner = aligner;
    this.forget();
  }

  /** Before another film. */
  forget() {
    this.faces = [];
    this.pictures = 0;
  }

  /** ImageData of a film's next picture → its faces. */
  async next(image) {
    const squares = this.faces.map((face) => face.next);
    if (this.pictures++ % EVERY === 0 || !squares.length) {
      const boxes = await this.finder.find(image, LEAST * Math.max(image.width, image.height));
      const found = boxes.map((box) => squareOfBox(box, this.aligner.facts.crop));
      squares.push(...found.filter((square) => !squares.some((known) => sameFace(known, square))));
    }
    const faces = await this.aligner.align(luma(image), squares);
    this.faces = single(faces.filter((face) => face.presence >= PRESENT));
    return this.faces;
  }
}

/** One picture by itself → its faces, each with its box. */
export async function still(image, finder, aligner) {
  const boxes = await finder.find(image);
  const faces = await aligner.align(luma(image), boxes.map((box) => squareOfBox(box, aligner.facts.crop)));
  return faces.map((face, i) => ({ ...face, box: boxes[i] })).filter((face) => face.presence >= PRESENT);
}

/** Whether two squares show one face: their centres lie within a third of the smaller side. */
export function sameFace(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]) < Math.min(a[2], b[2]) / 3;
}

/** Of several faces in one place the one that is most surely there. */
export function single(faces) {
  const kept = [];
  for (const face of [...faces].sort((a, b) => b.presence - a.presence)) {
    if (!kept.some((other) => sameFace(other.next, face.next))) kept.push(face);
  }
  return faces.filter((face) => kept.includes(face));
}
