// A table of the units that can be sorted and, where it is linked, selected from.

/**
 * A table in a place, with a column for names and one for each cell (`key` to sort by, `text` to read).
 * `choose` is told of a tick; without it rows have no boxes.
 */
function makeRows(place, { choose, point }) {
  let order = { column: 0, down: false };
  let filled = null;
  let lines = new Map();

  function fill(caption, columns, rows) {
    filled = { caption, columns, rows };
    if (order.column >= columns.length) order = { column: 0, down: false };
    const table = element("table", {}, element("caption", {}, caption), head(columns));
    lines = new Map(sorted(rows, order).map((row) => [row.unit, line(row)]));
    table.append(element("tbody", {}, ...lines.values()));
    place.replaceChildren(table);
  }

  function head(columns) {
    const cells = columns.map((name, number) => {
      const button = element("button", { type: "button", "aria-label": phrase("sort", name) }, name);
      button.addEventListener("click", () => sort(number));
      const cell = element("th", { scope: "col", class: number ? "number" : "" }, button);
      if (number === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      return cell;
    });
    if (choose) cells.unshift(element("th", { scope: "col", class: "box" }, phrase("select")));
    return element("thead", {}, element("tr", {}, ...cells));
  }

  function sort(column) {
    order = { column, down: column === order.column ? !order.down : column > 0 };
    const marks = new Map([...lines].map(([unit, made]) => [unit, made.className]));
    fill(filled.caption, filled.columns, filled.rows);
    for (const [unit, made] of lines) setChosen(made, marks.get(unit).includes("chosen"));
    place.querySelectorAll("thead button")[column].focus();
  }

  function line(row) {
    const cells = row.cells.map((cell) => element("td", { class: "number" }, cell.text));
    cells.unshift(element("th", { scope: "row" }, named(row.name)));
    if (choose) cells.unshift(element("td", { class: "box" }, tick(row)));
    const made = element("tr", {}, ...cells);
    made.addEventListener("pointerenter", () => point(row.unit));
    made.addEventListener("pointerleave", () => point(null));
    return made;
  }

  function tick(row) {
    const box = element("input", { type: "checkbox", "aria-label": row.name });
    box.addEventListener("change", () => choose([row.unit], true));
    box.addEventListener("focus", () => point(row.unit));
    box.addEventListener("blur", () => point(null));
    return box;
  }

  function mark(selection, pointed) {
    for (const [unit, made] of lines) {
      setChosen(made, selection.has(unit));
      made.classList.toggle("pointed", unit === pointed);
    }
  }

  return { fill, mark };
}

function setChosen(line, chosen) {
  line.classList.toggle("chosen", chosen);
  const box = line.querySelector("input");
  if (box) box.checked = chosen;
}

/** Rows by one column: numbers by size, words by the alphabet, what is missing last. */
function sorted(rows, { column, down }) {
  const sign = down ? -1 : 1;
  const key = (row) => (column ? row.cells[column - 1].key : row.name);
  return [...rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y), TAGS[language]));
  });
}
