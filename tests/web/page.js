// Uses the page in the frame as a visitor does, and sends the test what it shows.
const frame = document.querySelector("iframe");
const $ = (selector) => frame.contentDocument.querySelector(selector);
const report = {};

async function until(what, seconds = 90) {
  for (let left = seconds * 20; left > 0; left--) {
    const value = what();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not come; the page says: ${$("#state")?.textContent}`);
}

/** Once the page has counted the faces of a picture. */
async function pictureShown() {
  await until(() => / ms /.test($("#state").textContent));
  return { faces: frame.contentWindow.acdc.faces, state: $("#state").textContent, poses: $("#poses").textContent };
}

function coloured() {
  const { width, height } = $("#picture");
  return [...$("#picture").getContext("2d").getImageData(0, 0, width, height).data];
}

function differing(a, b) {
  return a.reduce((count, value, i) => count + (value !== b[i]), 0);
}

try {
  await until(() => frame.contentWindow.acdc);
  report.example = await pictureShown();

  const drawn = coloured();
  for (const layer of ["points", "lines", "doubt", "pose"]) {
    $(`input[value=${layer}]`).click();
    report[layer] = differing(drawn, coloured());
    $(`input[value=${layer}]`).click();
  }
  report.again = differing(drawn, coloured());

  const blob = await (await fetch("several.png")).blob();
  const files = new DataTransfer();
  files.items.add(new File([blob], "several.png", { type: "image/png" }));
  $("#file").files = files.files;
  $("#file").dispatchEvent(new Event("change", { bubbles: true }));
  await until(() => $("#state").textContent === "…", 5);
  report.several = await pictureShown();

  $("#camera").click();
  await until(() => /a second/.test($("#state").textContent));
  const first = $("#state").textContent;
  await until(() => $("#state").textContent !== first);
  await until(() => frame.contentWindow.acdc.faces.length);
  report.camera = { faces: frame.contentWindow.acdc.faces, state: $("#state").textContent };

  const text = new DataTransfer();
  text.items.add(new File(["no picture"], "broken.png", { type: "image/png" }));
  $("#file").files = text.files;
  $("#file").dispatchEvent(new Event("change", { bubbles: true }));
  await until(() => /not work/.test($("#state").textContent));
  report.broken = $("#state").textContent;
} catch (error) {
  report.error = String(error);
}
await fetch("report", { method: "POST", body: JSON.stringify(report) });
