// A frame dragged over a drawing selects what lies in it.

const LEAST_DRAG = 5;

/** Let a frame be dragged; `done(inside, add)` gets a test of points, and whether to add to the selection. */
function frame(svg, done) {
  let start = null;
  let box = null;
  let dragged = false;

  svg.addEventListener("pointerdown", (event) => {
    dragged = false;
    if (event.button === 0) start = { event, at: placeOf(svg, event) };
  });
  svg.addEventListener("pointermove", (event) => {
    if (!start) return;
    const far = Math.hypot(event.clientX - start.event.clientX, event.clientY - start.event.clientY);
    if (!box && far < LEAST_DRAG) return;
    if (!box) {
      svg.setPointerCapture(event.pointerId);
      box = svg.appendChild(shape("rect", { class: "frame" }));
    }
    const sides = sidesOf(start.at, placeOf(svg, event));
    for (const [name, value] of Object.entries(sides)) box.setAttribute(name, value);
  });
  svg.addEventListener("pointerup", (event) => {
    if (box) {
      const { x, y, width, height } = sidesOf(start.at, placeOf(svg, event));
      const inside = (px, py) => px >= x && px <= x + width && py >= y && py <= y + height;
      dragged = true;
      drop();
      done(inside, event.shiftKey);
    }
    start = null;
  });
  svg.addEventListener("pointercancel", drop);
  // The click that ends a drag selects nothing more.
  svg.addEventListener("click", (event) => { if (dragged) event.stopPropagation(); }, true);

  function drop() {
    box?.remove();
    box = start = null;
  }
}

/** Where a pointer is, in the units of a drawing. */
function placeOf(svg, event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [point.x, point.y];
}

function sidesOf([x0, y0], [x1, y1]) {
  return { x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0), height: Math.abs(y1 - y0) };
}
