// Switches between tables: one choice of model, sample, weights at a time.

/**
 * Selects for the dimensions in which `combos` differ; each offers what is there under the choices before it.
 * `changed(combo)` is told of the first choice and of every other. Returns a function that chooses a combo.
 */
function makeChoices(place, combos, changed) {
  const dimensions = [...new Set(combos.flatMap((combo) => Object.keys(combo)))];
  const offered = dimensions.filter((d) => new Set(combos.map((combo) => combo[d])).size > 1);
  let current = combos[0];
  const selects = new Map(offered.map((dimension) => [dimension, element("select", { "data-dimension": dimension })]));
  const labels = new Map(offered.map((dimension) => {
    const label = element("label", {}, element("span"), selects.get(dimension));
    selects.get(dimension).addEventListener("change", (event) => pick(dimension, Number(event.target.value)));
    return [dimension, label];
  }));
  place.append(...labels.values());

  /** Combos that agree with the current one in the dimensions before this one. */
  function under(dimension) {
    const before = dimensions.slice(0, dimensions.indexOf(dimension));
    return combos.filter((combo) => before.every((d) => combo[d] === current[d]));
  }

  function pick(dimension, value) {
    const open = under(dimension).filter((combo) => combo[dimension] === value);
    const alike = (combo) => dimensions.filter((d) => combo[d] === current[d]).length;
    current = open.reduce((best, combo) => (alike(combo) > alike(best) ? combo : best));
    redraw();
    changed(current);
  }

  function redraw() {
    for (const dimension of offered) {
      const values = [...new Set(under(dimension).map((combo) => combo[dimension]))].filter((v) => v !== undefined);
      labels.get(dimension).firstChild.textContent = dimension in data.dimensions ? say(data.dimensions[dimension]) : dimension;
      labels.get(dimension).hidden = current[dimension] === undefined;
      fillSelect(selects.get(dimension), values.map((value) => [value, say(value)]), current[dimension]);
    }
  }

  inEachLanguage(redraw);
  changed(current);
  return (combo) => {
    current = combo;
    redraw();
    changed(current);
  };
}

/** How to bring an item to light that other choices hide. */
const chooses = new Map();

/** Whether everything that one asks for is so in the other. */
function agrees(asked, combo) {
  return Object.entries(asked).every(([dimension, value]) => combo[dimension] === value);
}

/** Give every part of the page whose tables differ by choices its switches. */
function startChoices() {
  for (const part of document.querySelectorAll("section.part")) {
    const items = [...part.querySelectorAll(":scope > .item, :scope > .more > .item")];
    const asked = new Map(items.map((item) => [item, JSON.parse(item.dataset.choices)]));
    const combos = fullest([...asked.values()]);
    if (combos.length < 2) continue;
    const choose = makeChoices(part.querySelector(".choices"), combos, (current) => {
      items.forEach((item) => { item.hidden = !agrees(asked.get(item), current); });
    });
    items.forEach((item) => {
      chooses.set(item, () => choose(combos.find((combo) => agrees(asked.get(item), combo))));
    });
  }
}

/** A link to a table or figure shows it, whatever is folded or chosen otherwise. */
function startLinks() {
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (!target || !/^(table|figure)-/.test(target.id)) return;
    if (target.hidden) chooses.get(target)?.();
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("a")?.hash === location.hash) reveal(); // the same link again
  });
  reveal();
}

/** Distinct combos that are no part of a fuller one. */
function fullest(choices) {
  const distinct = [...new Map(choices.map((c) => [JSON.stringify(c), c])).values()];
  return distinct.filter((c) => Object.keys(c).length
    && !distinct.some((other) => other !== c && Object.keys(other).length > Object.keys(c).length && agrees(c, other)));
}
