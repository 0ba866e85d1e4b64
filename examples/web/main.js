// The page: a picture or the camera in, the same with faces out. Nothing leaves the visitor's machine.
import { Aligner } from "./aligner.js";
import { drawFace } from "./drawing.js";
import { Finder } from "./finder.js";
import { Follower, still } from "./follower.js";
import { load } from "./runtime.js";

const $ = (id) => document.getElementById(id);
const canvas = $("picture");
const context = canvas.getContext("2d", { willReadFrequently: true });
const { run, facts, engine } = await load(".", new URLSearchParams(location.search).has("cpu")).catch(tell);
const finder = new Finder(run.detector, facts.detector);
const aligner = new Aligner(run.landmarks, facts.landmarks);
const follower = new Follower(finder, aligner);
/** What is shown: an ImageBitmap or the camera's video, and its faces. Another source makes another number. */
let shown = { source: null, faces: [], number: 0 };

function put(source, width, height) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  context.drawImage(source, 0, 0, width, height);
}

function draw(faces) {
  const wanted = new Set([...document.querySelectorAll("#layers input:checked")].map((input) => input.value));
  const markup = $("markup").value;
  for (const face of faces) drawFace(context, face, markup, facts.landmarks.markups[markup].contours, wanted);
  const poses = faces.map(({ pose }) => pose.map((angle) => `${Math.round(angle)}°`).join(", "));
  $("poses").textContent = poses.length ? `yaw, pitch, roll: ${poses.join("; ")}` : "no face";
}

async function showPicture(blob) {
  const number = begin();
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const scale = Math.min(1, 4096 / Math.max(bitmap.width, bitmap.height));
  const size = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  if (Math.min(...size) < 32) throw new Error("the picture is narrower than 32 pixels");
  put(bitmap, ...size);
  const start = performance.now();
  const faces = await still(context.getImageData(0, 0, ...size), finder, aligner);
  if (number !== shown.number) return;
  shown = { source: bitmap, faces, number };
  draw(faces);
  say(`${faces.length} face${faces.length === 1 ? "" : "s"} in ${Math.round(performance.now() - start)} ms (${engine})`);
}

async function showCamera() {
  const number = begin();
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "user" } });
  const video = $("video");
  video.srcObject = stream;
  await video.play();
  follower.forget();
  document.body.classList.add("camera");
  let [count, since] = [0, performance.now()];
  while (number === shown.number) {
    const size = [video.videoWidth, video.videoHeight];
    put(video, ...size);
    const faces = await follower.next(context.getImageData(0, 0, ...size));
    if (number !== shown.number) break;
    shown = { source: video, faces, number };
    draw(faces);
    count++;
    if (performance.now() - since > 500) {
      say(`${((1000 * count) / (performance.now() - since)).toFixed(1)} pictures a second (${engine})`);
      [count, since] = [0, performance.now()];
    }
    await new Promise(requestAnimationFrame); // the browser shows the picture
  }
  stream.getTracks().forEach((track) => track.stop());
}

/** Ends what was shown before. */
function begin() {
  shown = { source: null, faces: [], number: shown.number + 1 };
  document.body.classList.remove("camera");
  say("…");
  return shown.number;
}

function say(text) {
  $("state").textContent = text;
}

function tell(error) {
  say(`That did not work: ${error.message}`);
  throw error;
}

async function example() {
  return (await fetch("example.jpg")).blob();
}

for (const markup of Object.keys(facts.landmarks.markups)) $("markup").add(new Option(markup));
$("markup").value = "2d68" in facts.landmarks.markups ? "2d68" : $("markup").options[0].value;
$("camera").onclick = () => showCamera().catch(tell);
$("example").onclick = () => example().then(showPicture).catch(tell);
$("file").onchange = () => $("file").files[0] && showPicture($("file").files[0]).catch(tell);
$("options").onchange = () => {
  if (shown.source instanceof ImageBitmap) {
    put(shown.source, canvas.width, canvas.height);
    draw(shown.faces);
  }
};
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) showPicture(event.dataTransfer.files[0]).catch(tell);
};
/** For the console, and for whoever builds on this page. */
window.acdc = { get faces() { return shown.faces; }, engine };
await example().then(showPicture).catch(tell);
