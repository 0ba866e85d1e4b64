// The network of landmarks: faces of one picture, from their squares.
import { beyond, cut, squareInPicture, toPicture } from "./crops.js";

/** `run(name → tensor-like {data, dims})` is the network; `facts` models.json's "landmarks". */
export class Aligner {
  constructor(run, facts) {
    this.run = run;
    this.facts = facts;
  }

  /**
   * A grey picture and squares → a face each: its square, the square for the next picture, points, covariance and
   * confidence of each markup, pose in degrees, presence. A square that does not fit its face is cut again.
   */
  async align(grey, squares) {
    let faces = await this.once(grey, squares);
    let poor = this.facts.second_look ? faces.filter((face) => !this.fits(face)) : [];
    for (let cuts = 0; cuts < 2 && poor.length; cuts++) {
      const again = await this.once(grey, poor.map((face) => asked(face)));
      const better = new Map(poor.map((face, i) => [face, again[i]]).filter(([face, other]) => this.better(other, face)));
      faces = faces.map((face) => better.get(face) ?? face);
      poor = [...better.values()].filter((face) => !this.settled(face));
    }
    return faces;
  }

  async once(grey, squares) {
    if (!squares.length) return [];
    const { size } = this.facts.crop;
    const crops = new Float32Array(squares.length * size * size);
    squares.forEach((square, i) => crops.set(cut(grey, square, this.facts.crop), i * size * size));
    const answer = await this.run({ crops: { data: crops, dims: [squares.length, 1, size, size] } });
    const faces = squares.map((square, i) => faceOf(answer, i, square, Object.keys(this.facts.markups)));
    for (const { square, landmarks, confidence } of faces) {
      const side = square[2] / this.facts.crop.scale;
      for (const [markup, points] of Object.entries(landmarks)) {
        const away = points.map((point) => beyond(point, grey) / side);
        confidence[markup] = confidence[markup].map((sure, i) => atBorder(sure, away[i], this.facts.border));
      }
    }
    return faces;
  }

  /** Whether a face is believed in the place of another. */
  better(face, other) {
    const { lost, worse, better } = this.facts.second_look;
    return face.measure < (other.narrowest > lost ? better : worse) * other.measure;
  }

  /** Whether a face that was cut again need not be cut once more. */
  settled({ own: [x, y, side], narrowest }) {
    const { settled, lost } = this.facts.second_look;
    return Math.max(Math.abs(side - 1), Math.hypot(x - 0.5, y - 0.5)) <= settled && narrowest <= lost;
  }

  fits({ own, narrowest }) {
    const { smaller, larger, away, lost } = this.facts.second_look;
    const [x, y, side] = own;
    return side >= smaller && side <= larger && Math.hypot(x - 0.5, y - 0.5) <= away && narrowest <= lost;
  }
}

/** What is cut instead; never less than 0.3 or more than 3 sides of the crop. */
function asked({ own: [x, y, side], square }) {
  return squareInPicture([x, y, Math.min(Math.max(side, 0.3), 3)], square);
}

/** The chance that a point is right which lies so many sides of the box beyond the border: the crop shows nothing there. */
function atBorder(sure, away, { slope, from, to }) {
  const factor = Math.exp(-slope * (Math.min(Math.max(away, from), to) - from));
  return (sure * factor) / (1 - sure + sure * factor);
}

function faceOf(answer, index, square, markups) {
  const own = rows(answer.square, index)[0];
  const face = { square, own, next: squareInPicture(own, square), landmarks: {}, covariance: {}, confidence: {} };
  const spreads = markups.map((markup) => {
    const moments = rows(answer[`covariance_${markup}`], index);
    face.landmarks[markup] = toPicture(rows(answer[`landmarks_${markup}`], index), square);
    face.covariance[markup] = moments.map((values) => values.map((value) => value * square[2] ** 2));
    face.confidence[markup] = rows(answer[`confidence_${markup}`], index)[0];
    return moments.reduce((sum, [xx, , yy]) => sum + Math.sqrt(Math.max(xx + yy, 0)), 0) / moments.length;
  });
  const side = Math.max(own[2], 1e-6);
  face.narrowest = Math.min(...spreads);
  face.measure = face.narrowest * Math.max(side, 1 / side);
  face.pose = rows(answer.pose, index)[0];
  face.presence = answer.presence ? answer.presence.data[index] : 1;
  return face;
}

/** The part of one face: a list of rows of the last dimension. */
function rows({ data, dims }, index) {
  const width = dims.length > 1 ? dims.at(-1) : 1;
  const count = dims.slice(1).reduce((product, side) => product * side, 1);
  const part = Array.from(data.subarray(index * count, (index + 1) * count));
  return Array.from({ length: count / width }, (_, i) => part.slice(i * width, (i + 1) * width));
}
