// The two networks in ONNX Runtime: on the GPU by WebGPU where there is one, else on the CPU by WebAssembly.

/** → {run: {detector, landmarks}, facts, engine}; `engine` is a few words for people. `cpu`: do without the GPU. */
export async function load(folder, cpu = false) {
  const facts = await (await fetch(`${folder}/models/models.json`)).json();
  const gpu = !cpu && (await navigator.gpu?.requestAdapter().catch(() => null));
  if (gpu) {
    try {
      return await open(folder, facts, "webgpu", "ort.webgpu.min.mjs");
    } catch (error) {
      console.warn("WebGPU cannot run the networks, so WebAssembly does:", error);
    }
  }
  return open(folder, facts, "wasm", "ort.wasm.min.mjs");
}

async function open(folder, facts, provider, file) {
  const base = new URL(`${folder}/ort/`, document.baseURI).href;
  const ort = await import(base + file);
  ort.env.wasm.wasmPaths = base;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const run = {};
  for (const name of ["detector", "landmarks"]) {
    const url = `${folder}/models/${name}.onnx`;
    const session = await ort.InferenceSession.create(url, { executionProviders: [provider] });
    run[name] = (inputs) => {
      const tensors = Object.entries(inputs).map(([key, { data, dims }]) => [key, new ort.Tensor("float32", data, dims)]);
      return session.run(Object.fromEntries(tensors));
    };
  }
  const threads = ort.env.wasm.numThreads;
  const engine = provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads === 1 ? "" : "s"}`;
  return { run, facts, engine };
}
