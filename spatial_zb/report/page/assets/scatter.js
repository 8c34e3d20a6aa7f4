// The Moran scatter: standardised values against their spatial lag.

const SYMBOLS = {
  HH: "M0 -4.6A4.6 4.6 0 1 1 0 4.6A4.6 4.6 0 1 1 0 -4.6Z",
  LL: "M-4 -4H4V4H-4Z",
  HL: "M0 -5.4L5 4H-5Z",
  LH: "M0 5.4L5 -4H-5Z",
};
const ROOM = { left: 52, right: 14, top: 12, bottom: 44 };
const MOST_NAMES = 14;

/** The quadrant of a value and its lag, the unit first and its neighbours second. */
function quadrantOf(z, lag) {
  if (z === null || lag === null) return null;
  return (z >= 0 ? "H" : "L") + (lag >= 0 ? "H" : "L");
}

/** A scatter in a place; `draw` puts points in, `mark` shows what is selected and pointed at. */
function makeScatter(place, { point, choose, clear }) {
  let dots = new Map();
  let shownPoints = [];
  let names = shape("g");
  let scale = null;

  function draw(title, points, slope) {
    const width = Math.max(280, place.clientWidth || 480);
    const height = Math.round(Math.min(0.86 * width, 520));
    scale = scales(points, width, height);
    shownPoints = [...points].sort((a, b) => a.z - b.z);
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, class: "cloud" });
    const list = shape("g", { role: "listbox", "aria-multiselectable": "true" });
    list.setAttribute("aria-label", phrase("scatterOf", title));
    dots = new Map(shownPoints.map((p) => [p.unit, dot(p)]));
    list.append(...dots.values());
    names = shape("g", { class: "names", "aria-hidden": "true" });
    svg.append(axes(scale, width, height), slopeLine(scale, slope), list, names);
    place.replaceChildren(svg);
    rove(list, [...dots.values()], along, (now, event) => pressed(shownPoints[now].unit, event, choose, clear));
    frame(svg, (inside, add) => {
      choose(shownPoints.filter((p) => inside(scale.x(p.z), scale.y(p.lag))).map((p) => p.unit), add);
    });
  }

  function dot(p) {
    const quadrant = quadrantOf(p.z, p.lag);
    const attributes = {
      d: SYMBOLS[quadrant], transform: `translate(${scale.x(p.z).toFixed(1)} ${scale.y(p.lag).toFixed(1)})`,
      class: `dot ${quadrant}`, role: "option", "aria-selected": "false", "aria-label": p.text,
    };
    const made = shape("path", attributes);
    made.addEventListener("pointerenter", () => point(p.unit));
    made.addEventListener("pointerleave", () => point(null));
    made.addEventListener("focus", () => point(p.unit));
    made.addEventListener("blur", () => point(null));
    made.addEventListener("click", () => choose([p.unit], true));
    return made;
  }

  function along(now, key) {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[key];
    if (key === "Home") return 0;
    if (key === "End") return dots.size - 1;
    return step && Math.min(Math.max(now + step, 0), dots.size - 1);
  }

  function mark(selection, pointed) {
    for (const [unit, made] of dots) {
      made.setAttribute("aria-selected", selection.has(unit));
      made.classList.toggle("faded", selection.size > 0 && !selection.has(unit));
      made.classList.toggle("pointed", unit === pointed);
    }
    const far = [...shownPoints].sort((a, b) => Math.hypot(b.z, b.lag) - Math.hypot(a.z, a.lag));
    const chosen = selection.size ? far.filter((p) => selection.has(p.unit)) : far.slice(0, 5);
    const first = far.filter((p) => p.unit === pointed);
    writeNames(names, [...first, ...chosen.filter((p) => p.unit !== pointed)].slice(0, MOST_NAMES), shownPoints, scale);
  }

  return { draw, mark };
}

/** Linear scales with the origin inside and room at the sides. */
function scales(points, width, height) {
  const range = (values, from, to) => {
    const low = Math.min(0, ...values);
    const high = Math.max(0, ...values);
    const room = 0.09 * (high - low) || 1;
    const scale = (v) => from + ((v - low + room) / (high - low + 2 * room)) * (to - from);
    return Object.assign(scale, { low: low - room, high: high + room });
  };
  const x = range(points.map((p) => p.z), ROOM.left, width - ROOM.right);
  const y = range(points.map((p) => p.lag), height - ROOM.bottom, ROOM.top);
  return { x, y, right: width - ROOM.right, bottom: height - ROOM.bottom };
}

/** Round numbers that divide a range into about five. */
function ticks({ low, high }) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) found.push(Number((k * step).toFixed(6)));
  return found;
}

function axes(scale, width, height) {
  const { x, y, right, bottom } = scale;
  const group = shape("g", { class: "axes", "aria-hidden": "true" });
  const text = (at, ...inside) => group.append(shape("text", at, ...inside));
  group.append(shape("path", { d: `M${ROOM.left} ${ROOM.top}V${bottom}H${right}` }));
  group.append(shape("path", { class: "zero", d: `M${x(0)} ${ROOM.top}V${bottom}M${ROOM.left} ${y(0)}H${right}` }));
  for (const t of ticks(x)) text({ x: x(t), y: bottom + 16, "text-anchor": "middle" }, shown(t));
  for (const t of ticks(y)) text({ x: ROOM.left - 7, y: y(t) + 4, "text-anchor": "end" }, shown(t));
  text({ x: (ROOM.left + right) / 2, y: height - 8, "text-anchor": "middle" }, phrase("axisX"));
  const turned = `translate(14 ${(ROOM.top + bottom) / 2}) rotate(-90)`;
  text({ transform: turned, "text-anchor": "middle" }, phrase("axisY"));
  return group;
}

/** The line through the origin, cut at the sides of the plot. */
function slopeLine({ x, y }, slope) {
  if (slope === null) return shape("g");
  const cut = (t) => Math.min(Math.max(t, y.low), y.high);
  const ends = [x.low, x.high].map((t) => (slope ? cut(slope * t) / slope : t));
  const [from, to] = ends.map((t) => `${x(t).toFixed(1)} ${y(slope * t).toFixed(1)}`);
  return shape("path", { class: "slope", d: `M${from}L${to}` });
}

/** Places for a name about a dot, the best first: x, baseline, anchor. */
function sidesFor(x, y) {
  return [[x + 8, y + 4, "start"], [x - 8, y + 4, "end"], [x, y - 9, "middle"], [x, y + 17, "middle"]];
}

/** Names beside their dots; one that would cover a dot or another name is left out. */
function writeNames(group, points, all, scale) {
  const taken = all.map((p) => [scale.x(p.z) - 5, scale.y(p.lag) - 5, scale.x(p.z) + 5, scale.y(p.lag) + 5]);
  const texts = [];
  for (const p of points) {
    const wide = [...p.name].reduce((sum, ch) => sum + (ch.charCodeAt(0) > 0x2e80 ? 12.5 : 7.2), 0);
    const [px, py] = [scale.x(p.z), scale.y(p.lag)];
    for (const [at, y, anchor] of sidesFor(px, py)) {
      const left = { start: at, middle: at - wide / 2, end: at - wide }[anchor];
      const box = [left, y - 11, left + wide, y + 3];
      const off = box[0] < ROOM.left || box[2] > scale.right + ROOM.right;
      const covers = taken.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3]);
      if (off || covers) continue;
      taken.push(box);
      texts.push(shape("text", { x: at, y, "text-anchor": anchor }, p.name));
      break;
    }
  }
  group.replaceChildren(...texts);
}
