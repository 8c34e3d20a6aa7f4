// Maps of scenarios: what given changes do to every unit, by horizon or by size of the change.

const LIMITS = ["value", "low", "high"];

function showPaths(place, entries) {
  const atlas = data.atlas;
  const within = (selector) => place.querySelector(selector);
  const state = { entry: entries[0], step: 0 };
  const nothing = new Set();
  const doing = { point, choose: (units) => point(units[0] ?? null), clear: () => point(null) };
  const map = makeMap(within(".drawing"), doing);
  const rows = makeRows(within(".rows"), { point });
  const slider = within("input");

  const name = (unit) => say(atlas.names[unit]);
  const number = (unit) => state.entry.units.indexOf(unit);
  const values = (unit) => LIMITS.map((k) => state.entry[k][state.step][number(unit)]);
  const sure = ([, low, high]) => low > 0 || high < 0;
  const title = () => `${say(state.entry.title)} (${say(state.entry.steps[state.step])})`;

  function described(unit) {
    if (number(unit) < 0) return name(unit) + phrase("comma") + phrase("outside");
    const [value, low, high] = values(unit);
    return `${name(unit)}${phrase("colon")}${shown(value)} [${shown(low)}, ${shown(high)}]`;
  }

  function draw() {
    const { colours, labels, codes } = state.entry.classes[state.step];
    const code = new Map(state.entry.units.map((unit, at) => [unit, codes[at]]));
    within("figcaption").textContent = title();
    within(".slider span").textContent = say(state.entry.slider);
    within("output").textContent = say(state.entry.steps[state.step]);
    slider.max = state.entry.steps.length - 1;
    slider.value = state.step;
    slider.setAttribute("aria-valuetext", say(state.entry.steps[state.step]));
    map.paint(title(), (unit) => (code.has(unit)
      ? { fill: colours[code.get(unit)], text: described(unit), unsure: !sure(values(unit)) }
      : { fill: "none", text: described(unit), outside: true }));
    drawLegend(within(".legend"), colours, labels.map(say), codes);
    within(".note").textContent = phrase("borders");
    within(".reading-line").textContent = say(state.entry.reading);
    fillRows();
    point(null);
  }

  function fillRows() {
    const places = placesOf(LIMITS.flatMap((k) => state.entry[k].flat()));
    rows.fill(title(), ["unit", "changed", "low", "high"].map((k) => phrase(k)), state.entry.units.map((unit) => ({
      unit, name: name(unit), cells: values(unit).map((v) => ({ key: v, text: decimals(v, places).replace(/^−(0\.?0*)$/, "$1") })),
    })));
  }

  function point(unit) {
    map.mark(nothing, unit);
    rows.mark(nothing, unit);
    within(".details").textContent = unit === null ? phrase("point") : described(unit);
  }

  function exported() {
    const head = [phrase("id"), phrase("unit"), say(state.entry.slider), ...["changed", "low", "high"].map((k) => phrase(k))];
    const lines = state.entry.steps.flatMap((step, s) => state.entry.units.map((unit, at) => (
      [atlas.units[unit], name(unit), say(step), ...LIMITS.map((k) => state.entry[k][s][at])])));
    return asCsv([head, ...lines]);
  }

  slider.addEventListener("input", () => { state.step = Number(slider.value); draw(); });
  within(".save-paths").addEventListener("click", () => save(`${data.study}_scenario.csv`, exported()));
  makeChoices(within(".controls"), entries.map((entry) => entry.choices), (combo) => {
    state.entry = entries.find((entry) => agrees(combo, entry.choices));
    state.step = state.entry.start;
    draw();
  });
  inEachLanguage(draw);
}
