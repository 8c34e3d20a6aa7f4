// The map explorer: one state; map, scatter and table show it and change it.

function startExplorer() {
  const atlas = data.atlas;
  const at = (id) => document.getElementById(id);
  const state = {
    variable: 0, period: atlas.periods.length - 1, scheme: atlas.scheme, weights: Object.keys(atlas.weights)[0] ?? null,
    selection: new Set(), pointed: null,
  };
  const doing = { point, choose, clear: () => choose([], false) };
  const map = makeMap(at("atlas"), doing);
  const scatter = makeScatter(at("scatter"), doing);
  const rows = makeRows(at("rows"), doing);

  const variable = () => atlas.variables[state.variable];
  const values = () => variable().values[state.period];
  const name = (unit) => say(atlas.names[unit]);
  /** The year of the figures: that of the row where the variable has none of its own. */
  const year = () => {
    const own = variable().ofPeriod;
    if (own === null && atlas.periods.length < 2) return "";
    return phrase("comma") + phrase("year", own ?? atlas.periods[state.period]);
  };
  const title = () => say(variable().label) + year();

  /** The classes of the map now: colours, words, and the class of every unit (−1 without data). */
  function classes() {
    if (state.scheme === "clusters") return clusterClasses(variable().clusters[state.period]);
    const { colours, labels, codes } = variable().schemes[state.scheme];
    return { colours, labels: labels.map(say), codes: codes[state.period] };
  }

  /** z, lag and quadrant of a unit; null where they are not defined. */
  function standing(unit) {
    const series = variable().moran[state.weights];
    const [value, mean, sd] = [values()[unit], variable().mean[state.period], variable().sd[state.period]];
    const z = value === null || !sd ? null : (value - mean) / sd;
    const lag = series ? series.lag[state.period][unit] : null;
    return { z, lag, quadrant: quadrantOf(z, lag) };
  }

  /** All there is to say of a unit. */
  function described(unit) {
    const value = values()[unit];
    const { labels, codes } = classes();
    const parts = [`${name(unit)}${year()}`, value === null ? phrase("noData") : shown(value)];
    if (value !== null && codes[unit] >= 0) parts.push(labels[codes[unit]]);
    const { z, lag, quadrant } = standing(unit);
    if (quadrant) {
      parts.push(`z ${decimals(z, 2)}`, `${phrase("lag")} ${decimals(lag, 2)}`, say(data.quadrants[quadrant]));
    }
    return parts.join(phrase("comma"));
  }

  function drawMap() {
    const { colours, labels, codes } = classes();
    at("atlas-title").textContent = title();
    map.paint(title(), (unit) => ({ fill: colours[codes[unit]], text: described(unit) }));
    at("atlas-note").textContent = [classesNote(), phrase("borders"), say(data.review)].filter(Boolean).join(phrase("gap"));
    drawLegend(at("legend"), colours, labels, codes);
  }

  function classesNote() {
    if (state.scheme === "clusters") return say(atlas.clustersNote);
    return atlas.periods.length > 1 ? phrase("common") : "";
  }

  function drawScatter() {
    const series = variable().moran[state.weights];
    at("scatter-panel").hidden = !state.weights;
    if (!state.weights) return;
    const slope = series ? series.I[state.period] : null;
    const points = atlas.units.flatMap((_, unit) => {
      const { z, lag, quadrant } = standing(unit);
      return quadrant ? [{ unit, z, lag, name: name(unit), text: described(unit) }] : [];
    });
    at("scatter-title").textContent = phrase("scatter", say(variable().label), year());
    scatter.draw(at("scatter-title").textContent, points, slope);
    at("scatter-note").textContent = scatterNote(series, slope);
  }

  function scatterNote(series, slope) {
    if (slope === null) return phrase("constant");
    const p = series.p[state.period];
    const first = [say(atlas.weights[state.weights]), phrase("moran", decimals(slope, 3)),
      p === null ? phrase("untested") : phrase("p", p)].join(phrase("comma")) + phrase("stop");
    const alone = atlas.units.flatMap((_, unit) => {
      const { z, lag } = standing(unit);
      return z !== null && lag === null ? [name(unit)] : [];
    });
    return first + phrase("slope") + (alone.length ? phrase("islands", alone.join(phrase("comma"))) : "");
  }

  function fillRows() {
    const codes = variable().clusters[state.period];
    const places = placesOf(values());
    const columns = ["unit", "value", "z", "lag", "quadrant", ...(codes ? ["cluster"] : [])].map((c) => phrase(c));
    rows.fill(phrase("caption", say(variable().label), year()), columns, atlas.units.map((_, unit) => {
      const { z, lag, quadrant } = standing(unit);
      const word = quadrant ? say(data.quadrants[quadrant]) : null;
      const cells = [
        { key: values()[unit], text: decimals(values()[unit], places) },
        { key: z, text: decimals(z, 2) }, { key: lag, text: decimals(lag, 2) }, { key: word, text: word ?? "–" },
      ];
      if (codes) {
        const cluster = codes[unit] ? say(data.clusters[codes[unit]][0]) : null;
        cells.push({ key: cluster, text: cluster ?? "–" });
      }
      return { unit, name: name(unit), cells };
    }));
  }

  function showSelection() {
    const { selection, pointed } = state;
    map.mark(selection, pointed);
    if (state.weights) scatter.mark(selection, pointed);
    rows.mark(selection, pointed);
    const known = [...selection].map((unit) => values()[unit]).filter((value) => value !== null);
    const mean = known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
    at("count").textContent = selection.size
      ? phrase("count", selection.size, atlas.units.length, shown(mean)) : phrase("none");
    at("clear").disabled = !selection.size;
    at("count").parentElement.classList.toggle("nothing", !selection.size);
    at("details").textContent = pointed === null ? phrase("point") : described(pointed);
  }

  function point(unit) {
    state.pointed = unit;
    showSelection();
  }

  /** Select units: `add` turns single ones on and off and keeps the others, else they replace what was. */
  function choose(units, add) {
    if (!add) state.selection = new Set(units);
    else if (units.length === 1 && state.selection.has(units[0])) state.selection.delete(units[0]);
    else units.forEach((unit) => state.selection.add(unit));
    showSelection();
    announce(at("count").textContent);
  }

  function draw() {
    drawMap();
    drawScatter();
    fillRows();
    showSelection();
  }

  function fillControls() {
    const words = (pairs) => Object.entries(pairs).map(([key, number]) => [key, say(number)]);
    fillSelect(at("variable"), atlas.variables.map((v, number) => [number, say(v.label)]), state.variable);
    fillSelect(at("period"), atlas.periods.map((p, number) => [number, phrase("year", p)]), state.period);
    fillSelect(at("weights"), words(atlas.weights), state.weights);
    at("weights-label").hidden = !state.weights;
    const offered = words(atlas.schemes).filter(([key]) => key in variable().schemes
      || (key === "clusters" && variable().clusters[state.period]));
    if (!offered.some(([key]) => key === state.scheme)) state.scheme = offered[0][0];
    fillSelect(at("scheme"), offered, state.scheme);
    at("earlier").disabled = state.period === 0;
    at("later").disabled = state.period === atlas.periods.length - 1;
    document.querySelector("#map .year").hidden = atlas.periods.length === 1;
  }

  function change(part, value) {
    state[part] = value;
    fillControls();
    draw();
    announce([title(), at("scatter-note").textContent].join(phrase("stop")));
  }

  function exported(periods) {
    const lines = periods.flatMap((period) => {
      const before = state.period;
      state.period = period;
      const made = atlas.units.map((id, unit) => {
        const { z, lag, quadrant } = standing(unit);
        return [id, name(unit), atlas.periods[period], values()[unit], round(z), round(lag), quadrant];
      });
      state.period = before;
      return made;
    });
    const head = ["id", "unit", "period", "value", "z", "lag", "quadrant"].map((column) => phrase(column));
    return asCsv([head, ...lines]);
  }

  at("variable").addEventListener("change", (event) => change("variable", Number(event.target.value)));
  at("period").addEventListener("change", (event) => change("period", Number(event.target.value)));
  at("scheme").addEventListener("change", (event) => change("scheme", event.target.value));
  at("weights").addEventListener("change", (event) => change("weights", event.target.value));
  at("earlier").addEventListener("click", () => change("period", state.period - 1));
  at("later").addEventListener("click", () => change("period", state.period + 1));
  at("clear").addEventListener("click", doing.clear);
  at("save-view").addEventListener("click", () => {
    save(`${data.study}_${variable().name}_${atlas.periods[state.period]}.csv`, exported([state.period]));
  });
  at("save-variable").addEventListener("click", () => {
    save(`${data.study}_${variable().name}.csv`, exported(atlas.periods.map((_, number) => number)));
  });
  fillQuadrants(at("quadrants"), (quadrant) => {
    choose(atlas.units.flatMap((_, unit) => (standing(unit).quadrant === quadrant ? [unit] : [])), false);
  });
  inEachLanguage(() => { fillControls(); draw(); });
  whenResized(at("scatter"), () => { drawScatter(); showSelection(); });
}

/** Four decimals, which is what the lags have. */
function round(value) {
  return value === null ? null : Number(value.toFixed(4));
}

/** Codes of clusters as classes. */
function clusterClasses(codes) {
  const order = Object.keys(data.clusters);
  return {
    colours: order.map((code) => data.clusters[code][1]),
    labels: order.map((code) => say(data.clusters[code][0])),
    codes: codes.map((code) => order.indexOf(code)),
  };
}

/** Colours, words and how many units; no data only where it occurs. */
function drawLegend(place, colours, labels, codes) {
  const many = (code) => phrase("units", codes.filter((c) => c === code).length);
  const items = colours.map((colour, code) => legendLine(colour, labels[code], many(code)));
  if (codes.includes(-1)) items.push(legendLine(null, phrase("noData"), many(-1)));
  place.replaceChildren(element("ul", {}, ...items));
}

/** A button for each quadrant: what a frame does, by keyboard. */
function fillQuadrants(place, choose) {
  inEachLanguage(() => {
    place.replaceChildren(...Object.entries(data.quadrants).map(([code, number]) => {
      const symbol = shape("svg", { viewBox: "-7 -7 14 14", class: "symbol", "aria-hidden": "true" },
        shape("path", { d: SYMBOLS[code], class: `dot ${code}` }));
      const button = element("button", { type: "button", "data-quadrant": code }, symbol, say(number));
      button.addEventListener("click", () => choose(code));
      return button;
    }));
  });
}

function whenResized(place, redraw) {
  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    redraw();
  }).observe(place);
}
