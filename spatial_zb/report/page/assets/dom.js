// Elements: every word goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

function shape(name, attributes = {}, ...inside) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

/** A name that keeps its own direction of writing. */
function named(text) {
  return element("bdi", {}, text);
}

/** Fill a select; keeps the choice that was made. */
function fillSelect(select, options, chosen) {
  select.replaceChildren(
    ...options.map(([value, text]) => element("option", { value }, text)),
  );
  select.value = String(chosen);
}

/** One tab stop for a list of shapes: the arrow keys go from one to the next. */
function rove(list, options, next, act) {
  let current = 0;
  const stop = (number) => {
    options[current]?.setAttribute("tabindex", "-1");
    current = number;
    options[current]?.setAttribute("tabindex", "0");
  };
  options.forEach((option, number) => {
    option.setAttribute("tabindex", number ? "-1" : "0");
    option.addEventListener("focus", () => stop(number));
  });
  list.addEventListener("keydown", (event) => {
    const target = next(current, event.key);
    if (target === undefined && !act(current, event)) return;
    event.preventDefault();
    if (target !== undefined) options[target].focus();
  });
}

/** A line of a legend: a box of colour (hatched without one), words, and how many. */
function legendLine(colour, text, count) {
  const box = shape("svg", { class: "swatch", viewBox: "0 0 26 16", "aria-hidden": "true" });
  const sides = { x: 0.5, y: 0.5, width: 25, height: 15 };
  box.append(colour ? shape("rect", { ...sides, fill: colour }) : shape("rect", { ...sides, class: "sheet" }));
  if (!colour) box.append(shape("path", { class: "hatching thin", d: "M1 15L15 1M8 15L22 1M15 15L25 5" }));
  return element("li", {}, box, element("span", {}, text), element("span", { class: "many" }, count));
}
