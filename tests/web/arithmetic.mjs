// Calls functions of the page with what stands on stdin, {name, args}[], and prints their results as JSON.
import { readFileSync } from "node:fs";

const folder = new URL("../../examples/web/", import.meta.url);
const modules = ["aligner", "boxes", "crops", "drawing", "finder", "follower", "pixels"];
const page = Object.assign({}, ...(await Promise.all(modules.map((name) => import(new URL(`${name}.js`, folder))))));

/** A finder whose network answers with these maps, one list a look; and the grey pictures that it was asked about. */
async function find(image, recipe, answers, minSize) {
  const asked = [];
  const run = async ({ grey: { data, dims } }) => {
    const maps = answers[asked.length];
    asked.push({ grey: [...data], dims });
    return Object.fromEntries(recipe.strides.map((stride, i) => [`level_${stride}`, tensor(maps[i])]));
  };
  return { boxes: await new page.Finder(run, recipe).find(image, minSize ?? undefined), asked };
}

/** An aligner whose network gives for each crop what the list has for its rounded mean grey. */
async function align(grey, squares, facts, answers) {
  const batches = [];
  const run = async ({ crops: { data, dims } }) => {
    const area = dims[2] * dims[3];
    const keys = Array.from({ length: dims[0] }, (_, i) => {
      const sum = data.subarray(i * area, (i + 1) * area).reduce((total, value) => total + value, 0);
      return Math.round((255 * sum) / area);
    });
    batches.push(keys);
    return Object.fromEntries(Object.keys(answers[keys[0]]).map((name) => {
      const parts = keys.map((key) => answers[key][name]);
      return [name, { data: Float32Array.from(parts.flatMap((part) => part.data)), dims: [keys.length, ...parts[0].dims] }];
    }));
  };
  return { faces: await new page.Aligner(run, facts).align(grey, squares), batches };
}

function tensor({ data, dims }) {
  return { data: Float32Array.from(data), dims };
}

const calls = { ...page, find, align };
const results = [];
for (const { name, args } of JSON.parse(readFileSync(0, "utf8"))) results.push(await calls[name](...args));
const plain = (key, value) => (ArrayBuffer.isView(value) ? [...value] : value);
process.stdout.write(JSON.stringify(results, plain));
