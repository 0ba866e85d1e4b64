// Draws faces on a canvas whose pixels are the picture's.
import { ellipse, headAxes } from "./crops.js";

const CERTAIN = [64, 224, 255];
const UNCERTAIN = [255, 112, 48];
const AXES = ["rgb(255 72 72)", "rgb(88 220 96)", "rgb(80 140 255)"]; // right, up, forward

/** `shown`: the set of what is wanted, of points, lines, doubt and pose; `contours`: lists of point numbers. */
export function drawFace(context, face, markup, contours, shown) {
  const stroke = Math.max(0.5, face.next[2] / 130);
  const points = face.landmarks[markup];
  context.lineCap = context.lineJoin = "round";
  if (shown.has("lines")) {
    context.lineWidth = stroke * 0.7;
    context.strokeStyle = "rgb(255 255 255 / 45%)";
    for (const contour of contours) path(context, contour.map((number) => points[number]));
  }
  if (shown.has("doubt")) {
    context.lineWidth = stroke * 0.6;
    face.covariance[markup].forEach((moments, i) => {
      const { half, angle } = ellipse(moments);
      context.strokeStyle = colourOf(face.confidence[markup][i]);
      context.beginPath();
      context.ellipse(...centre(points[i]), half[0], half[1], angle, 0, 2 * Math.PI);
      context.stroke();
    });
  }
  if (shown.has("points")) {
    points.forEach((point, i) => {
      context.fillStyle = colourOf(face.confidence[markup][i]);
      context.beginPath();
      context.arc(...centre(point), stroke * 1.1, 0, 2 * Math.PI);
      context.fill();
    });
  }
  if (shown.has("pose")) drawAxes(context, face, middle(points), stroke * 1.6);
}

function drawAxes(context, face, origin, width) {
  const length = face.next[2] * 0.4;
  context.lineWidth = width;
  headAxes(face.pose).forEach(([x, y], axis) => {
    context.strokeStyle = AXES[axis];
    path(context, [origin, [origin[0] + length * x, origin[1] + length * y]]);
  });
}

/** Of a point that is right with this chance. */
export function colourOf(sure) {
  return `rgb(${UNCERTAIN.map((from, i) => Math.round(from + (CERTAIN[i] - from) * sure)).join(" ")})`;
}

function path(context, points) {
  context.beginPath();
  for (const point of points) context.lineTo(...centre(point));
  context.stroke();
}

/** A canvas has the corner of its first pixel at 0, not its centre. */
function centre([x, y]) {
  return [x + 0.5, y + 0.5];
}

function middle(points) {
  return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}
