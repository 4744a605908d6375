// A picture to be clicked: Python gets the pixel. Mouse, pen and touch; arrow keys move by a step.

function render({ model, el }) {
  const [height, width] = model.get("size");
  const zoom = Math.max(1, Math.min(4, Math.round(480 / width)));
  const stage = document.createElement("div");
  stage.tabIndex = 0;
  stage.style.cssText = `position: relative; width: ${width * zoom}px; max-width: 100%; cursor: crosshair; touch-action: none`;
  stage.setAttribute("role", "application");
  const image = document.createElement("img");
  image.style.cssText = "display: block; width: 100%";
  image.draggable = false;
  const address = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
  image.src = address;
  const mark = document.createElement("div");
  mark.style.cssText = "position: absolute; border: 2px solid #fff; outline: 2px solid #000; pointer-events: none; box-sizing: border-box";
  stage.append(image, mark);
  el.append(stage);

  const step = model.get("step");
  function show() {
    const [y, x] = model.get("at").map((v) => Math.floor(v / step) * step);
    mark.style.left = `${(100 * x) / width}%`;
    mark.style.top = `${(100 * y) / height}%`;
    mark.style.width = `${(100 * Math.min(step, width - x)) / width}%`;
    mark.style.height = `${(100 * Math.min(step, height - y)) / height}%`;
    stage.setAttribute("aria-label", `Click a pixel, or move by the arrow keys; now row ${y}, column ${x}`);
  }
  function point(y, x) {
    const inside = (v, size) => Math.max(0, Math.min(size - 1, Math.floor(v)));
    model.set("at", [inside(y, height), inside(x, width)]);
    model.save_changes();
  }
  stage.addEventListener("pointerdown", (event) => {
    const box = image.getBoundingClientRect();
    point(((event.clientY - box.top) / box.height) * height, ((event.clientX - box.left) / box.width) * width);
  });
  stage.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    const [y, x] = model.get("at");
    point(y + step * move[0], x + step * move[1]);
  });
  model.on("change:at", show);
  show();
  return () => { model.off("change:at", show); URL.revokeObjectURL(address); };
}

export default { render };
