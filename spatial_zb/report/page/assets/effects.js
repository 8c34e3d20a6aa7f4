// Maps of effects: what each unit receives from the others and gives to them.

const KINDS = ["emitted", "received", "direct"];

function showEffects(place, entries) {
  const atlas = data.atlas;
  const within = (selector) => place.querySelector(selector);
  const state = { entry: entries[0], kind: "emitted", pointed: null };
  const nothing = new Set();
  const doing = { point, choose: (units) => point(units[0] ?? null), clear: () => point(null) };
  const map = makeMap(within(".drawing"), doing);
  const rows = makeRows(within(".rows"), { point });
  const kind = element("select", { class: "kind" });
  const label = element("label", {}, element("span"), kind);

  const name = (unit) => say(atlas.names[unit]);
  const value = (unit) => state.entry.values[state.kind][state.entry.units.indexOf(unit)];
  const pair = ({ term, response, model }) => [term, response ?? model].filter((n) => n !== undefined).map(say).join(" → ");
  const title = () => [pair(state.entry.choices), phrase(state.kind)].join(phrase("colon"));

  function described(unit) {
    if (!state.entry.units.includes(unit)) return name(unit) + phrase("comma") + phrase("outside");
    return `${name(unit)}${phrase("comma")}${phrase(state.kind)}${phrase("colon")}${shown(value(unit))}`;
  }

  function draw() {
    const { colours, labels, codes } = state.entry.classes[state.kind];
    const code = new Map(state.entry.units.map((unit, number) => [unit, codes[number]]));
    within("figcaption").textContent = title();
    map.paint(title(), (unit) => (code.has(unit)
      ? { fill: colours[code.get(unit)], text: described(unit) }
      : { fill: "none", text: described(unit), outside: true }));
    drawLegend(within(".legend"), colours, labels.map(say), codes);
    within(".note").textContent = phrase("borders");
    within(".reading-line").textContent = say(state.entry.reading);
    fillRows();
    point(null);
  }

  function fillRows() {
    const places = placesOf(KINDS.flatMap((k) => state.entry.values[k]));
    rows.fill(pair(state.entry.choices), ["unit", ...KINDS].map((k) => phrase(k)), state.entry.units.map((unit, number) => ({
      unit, name: name(unit),
      cells: KINDS.map((k) => {
        const v = state.entry.values[k][number];
        return { key: v, text: decimals(v, places) };
      }),
    })));
  }

  function point(unit) {
    state.pointed = unit;
    map.mark(nothing, unit);
    rows.mark(nothing, unit);
    within(".details").textContent = unit === null ? phrase("point") : described(unit);
  }

  function exported() {
    const head = [phrase("id"), phrase("unit"), ...KINDS.map((k) => phrase(k))];
    return asCsv([head, ...state.entry.units.map((unit, number) => (
      [atlas.units[unit], name(unit), ...KINDS.map((k) => state.entry.values[k][number])]))]);
  }

  kind.addEventListener("change", () => { state.kind = kind.value; draw(); });
  within(".save-effects").addEventListener("click", () => save(`${data.study}_effects_by_unit.csv`, exported()));
  makeChoices(within(".controls"), entries.map((entry) => entry.choices), (combo) => {
    state.entry = entries.find((entry) => agrees(combo, entry.choices));
    draw();
  });
  within(".controls").append(label);
  inEachLanguage(() => {
    label.firstChild.textContent = phrase("what");
    fillSelect(kind, KINDS.map((k) => [k, phrase(k)]), state.kind);
    draw();
  });
}
