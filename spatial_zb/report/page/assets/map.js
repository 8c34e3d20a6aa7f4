// A map of the units: colours, words, the unit pointed at, and the selection.

const MARGIN = 60;

/**
 * Draw the units in a place.
 * `point(unit | null)` is told what is pointed at, `choose(units, add)` what is selected, `clear()` is asked for.
 */
function makeMap(place, { point, choose, clear }) {
  const { size, paths, centres, borders } = data.atlas;
  const box = [-MARGIN, -MARGIN, size[0] + 2 * MARGIN, size[1] + 2 * MARGIN];
  const svg = shape("svg", { viewBox: box.join(" "), class: "atlas" });
  const units = paths.map((d) => shape("path", { d, class: "unit", role: "option", "aria-selected": "false" }));
  const list = shape("g", { role: "listbox", "aria-multiselectable": "true" }, ...units);
  const marks = shape("g", { class: "marks" });
  const active = shape("path", { class: "active" });
  const lines = ["casing", "borders"].map((name) => shape("path", { d: borders, class: name }));
  svg.append(list, ...lines, marks, active, furniture());
  place.replaceChildren(svg);

  units.forEach((unit, number) => {
    unit.addEventListener("pointerenter", () => point(number));
    unit.addEventListener("pointerleave", () => point(null));
    unit.addEventListener("focus", () => point(number));
    unit.addEventListener("blur", () => point(null));
    unit.addEventListener("click", () => choose([number], true));
  });
  rove(list, units, (now, key) => towards(centres, now, key), (now, event) => pressed(now, event, choose, clear));
  frame(svg, (inside, add) => choose(centres.flatMap((centre, number) => (inside(...centre) ? [number] : [])), add));

  return {
    paint(title, look) {
      list.setAttribute("aria-label", phrase("mapOf", title));
      units.forEach((unit, number) => {
        const { fill, text, outside, unsure } = look(number);
        unit.setAttribute("fill", fill ?? "url(#hatch)");
        unit.classList.toggle("outside", Boolean(outside));
        unit.classList.toggle("unsure", Boolean(unsure));
        unit.setAttribute("aria-label", text);
      });
      svg.querySelector(".km").textContent = `${data.atlas.bar[0]} ${phrase("km")}`;
      svg.querySelector(".north text").textContent = phrase("north");
    },
    mark(selection, pointed) {
      units.forEach((unit, number) => {
        unit.setAttribute("aria-selected", selection.has(number));
        unit.classList.toggle("faded", selection.size > 0 && !selection.has(number));
      });
      marks.replaceChildren(...[...selection].map((number) => shape("path", { d: paths[number] })));
      active.setAttribute("d", pointed === null ? "" : paths[pointed]);
    },
  };
}

/** What the keys do that do not move: select, clear. */
function pressed(now, event, choose, clear) {
  if (event.key === "Enter" || event.key === " ") choose([now], true);
  else if (event.key === "Escape") clear();
  else return false;
  return true;
}

/** The nearest centre in the direction of an arrow key; undefined for other keys. */
function towards(centres, now, key) {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  if (key === "Home") return 0;
  if (key === "End") return centres.length - 1;
  if (!way) return undefined;
  let best = now;
  let least = Infinity;
  centres.forEach(([x, y], number) => {
    const [dx, dy] = [x - centres[now][0], y - centres[now][1]];
    const ahead = dx * way[0] + dy * way[1];
    const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    const cost = ahead + 2 * aside;
    if (ahead > 0 && cost < least) [best, least] = [number, cost];
  });
  return best;
}

/** The hatching of units without data, once for all maps. */
function startHatch() {
  const sheet = shape("rect", { width: 60, height: 60, class: "sheet" });
  const lines = shape("path", { d: "M0 60L60 0M-15 15L15 -15M45 75L75 45", class: "hatching" });
  const attributes = { id: "hatch", width: 60, height: 60, patternUnits: "userSpaceOnUse" };
  const pattern = shape("pattern", attributes, sheet, lines);
  document.body.prepend(shape("svg", { class: "unseen", "aria-hidden": "true" }, shape("defs", {}, pattern)));
}

/** Scale bar and north arrow, in the corner at the bottom left. */
function furniture() {
  const { size, bar, north } = data.atlas;
  const [km, length] = bar;
  const y = size[1];
  const rule = shape("path", { d: `M0 ${y - 30}V${y}H${length}V${y - 30}`, class: "rule" });
  const words = shape("text", { x: 0, y: y - 45, class: "km" }, `${km}`);
  const needle = shape("path", { d: "M0 -150L45 30L0 0L-45 30Z" });
  const letter = shape("text", { y: -180, "text-anchor": "middle" });
  const turn = `translate(60 ${y - 220}) rotate(${north})`;
  const arrow = shape("g", { class: "north", transform: turn }, needle, letter);
  return shape("g", { class: "furniture", "aria-hidden": "true" }, rule, words, arrow);
}
