// The mask painter: brush, eraser, size, object, undo; mouse, pen and touch. Python gets all masks after each stroke.

const bytes = (view) => new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

function element(tag, parent, props = {}, text = "") {
  const node = Object.assign(document.createElement(tag), props);
  node.textContent = text;
  parent.append(node);
  return node;
}

function render({ model, el }) {
  const [height, width] = model.get("size");
  const colours = model.get("colours");
  const numbers = model.get("numbers");
  let masks = model.get("masks").map(bytes);
  let frame = 0, id = 1, erasing = false, size = Math.max(3, Math.round(height / 14));
  const undo = numbers.map(() => []);

  const root = element("div", el, { className: "vos-painter" });
  const tools = element("div", root, { className: "bar" });
  const stage = element("div", root, { className: "stage", tabIndex: 0 });
  stage.style.width = `${width * Math.max(1, Math.min(4, Math.round(640 / width)))}px`;
  stage.setAttribute("aria-label", "Paint the mask of the chosen object here; keys: 1 to 6 object, e eraser, z undo");
  const picture = element("canvas", stage, { width, height });
  const canvas = element("canvas", stage, { width, height, className: "mask" });
  const pen = canvas.getContext("2d");
  const layer = pen.createImageData(width, height);
  const said = element("div", root, { className: "said" });

  // ---- tools
  const press = (button, on) => button.setAttribute("aria-pressed", on ? "true" : "false");
  const frameButtons = numbers.map((n, i) => {
    const b = element("button", tools, { className: "frame" }, `frame ${n}`);
    b.onclick = () => { frame = i; show(); };
    return b;
  });
  element("span", tools, { className: "gap" });
  const objectButtons = colours.slice(1).map((c, i) => {
    const b = element("button", tools, { className: "object" });
    element("span", b, { className: "dot" }).style.background = `rgb(${c})`;
    b.append(`object ${i + 1}`);
    b.onclick = () => { id = i + 1; erasing = false; press_all(); };
    return b;
  });
  const eraser = element("button", tools, { className: "eraser" }, "eraser");
  eraser.onclick = () => { erasing = !erasing; press_all(); };
  const label = element("label", tools, {}, "size");
  const slider = element("input", label, { type: "range", min: 1, max: Math.round(height / 3), value: size });
  slider.oninput = () => { size = Number(slider.value); };
  element("span", tools, { className: "gap" });
  const back = element("button", tools, { className: "undo" }, "undo");
  back.onclick = () => { if (undo[frame].length) { masks[frame] = undo[frame].pop(); send(); show(); } };
  const clear = element("button", tools, { className: "clear" }, "clear frame");
  clear.onclick = () => { keep(); masks[frame] = new Uint8Array(width * height); send(); show(); };

  function press_all() {
    frameButtons.forEach((b, i) => press(b, i === frame));
    objectButtons.forEach((b, i) => press(b, !erasing && i + 1 === id));
    press(eraser, erasing);
    back.disabled = !undo[frame].length;
  }

  // ---- drawing
  function paint_layer() {
    const mask = masks[frame], out = layer.data, count = colours.map(() => 0);
    for (let y = 0, p = 0; y < height; y++) for (let x = 0; x < width; x++, p++) {
      const k = mask[p], c = k === 255 ? [160, 160, 160] : colours[k] || [0, 0, 0];
      if (k && k < count.length) count[k]++;
      const edge = k && ((x && mask[p - 1] !== k) || (x < width - 1 && mask[p + 1] !== k) ||
        (y && mask[p - width] !== k) || (y < height - 1 && mask[p + width] !== k));
      out.set([c[0], c[1], c[2], k ? (edge ? 255 : 115) : 0], 4 * p);
    }
    pen.putImageData(layer, 0, 0);
    said.textContent = count.slice(1).map((n, i) => `object ${i + 1}: ${n} pixels`).join("    ");
  }

  async function show() {
    press_all();
    paint_layer();
    const image = await createImageBitmap(new Blob([bytes(model.get("images")[frame])], { type: "image/jpeg" }));
    picture.getContext("2d").drawImage(image, 0, 0, width, height);
  }

  const keep = () => { undo[frame].push(masks[frame].slice()); if (undo[frame].length > 40) undo[frame].shift(); };

  function dab(x, y) {
    const r = size / 2, value = erasing ? 0 : id, mask = masks[frame];
    for (let j = Math.max(0, Math.ceil(y - r)); j <= Math.min(height - 1, Math.floor(y + r)); j++)
      for (let i = Math.max(0, Math.ceil(x - r)); i <= Math.min(width - 1, Math.floor(x + r)); i++)
        if ((i - x) ** 2 + (j - y) ** 2 <= r * r) mask[j * width + i] = value;
  }

  function stroke(from, to) {
    const n = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / Math.max(0.5, size / 4)));
    for (let i = 0; i <= n; i++) dab(from[0] + (to[0] - from[0]) * i / n, from[1] + (to[1] - from[1]) * i / n);
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * width / box.width - 0.5, (event.clientY - box.top) * height / box.height - 0.5];
  };

  let last = null, pointer = null;
  stage.onpointerdown = (event) => {
    if (last || event.button > 0) return;
    event.preventDefault();
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    pointer = event.pointerId;
    keep();
    last = at(event);
    stroke(last, last);
    paint_layer();
  };
  stage.onpointermove = (event) => {
    if (!last || event.pointerId !== pointer) return;
    const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const e of all.length ? all : [event]) { const next = at(e); stroke(last, next); last = next; }
    paint_layer();
  };
  const end = (event) => {
    if (!last || event.pointerId !== pointer) return;
    last = null;
    send();
    press_all();
  };
  stage.onpointerup = end;
  stage.onpointercancel = end;
  stage.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const k = Number(event.key);
    if (k >= 1 && k < colours.length) { id = k; erasing = false; }
    else if (event.key === "e") erasing = !erasing;
    else if (event.key === "z") back.click();
    else return;
    event.preventDefault();
    event.stopPropagation();  // or the notebook takes the key as its own command
    press_all();
  };

  // ---- to and from Python
  let sending = false;
  function send() {
    sending = true;
    model.set("masks", masks.map((m) => new DataView(m.slice().buffer)));
    model.save_changes();
    sending = false;
  }
  const received = () => { if (!sending && !last) { masks = model.get("masks").map(bytes); show(); } };
  model.on("change:masks", received);
  show();
  return () => model.off("change:masks", received);
}

export default { render };
