// Downloads: tables as text files made in the page.

const PLAIN_NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?$/;

/** Put an apostrophe before text that a spreadsheet would calculate; numbers stay. */
function harmless(text) {
  return /^[=+\-@＝＋－＠]/.test(text) && !PLAIN_NUMBER.test(text) ? `'${text}` : text;
}

/** Rows of cells as CSV, every field quoted; nothing is an empty field. */
function asCsv(rows) {
  const field = (cell) => `"${harmless(String(cell ?? "")).replaceAll('"', '""')}"`;
  return rows.map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
}

/** Save a text under a name, marked as UTF-8 so that spreadsheets show Chinese. */
function save(name, text) {
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
  const link = element("a", { href: url, download: name, hidden: "" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  announce(phrase("saved", name));
}

function startTableDownloads() {
  for (const button of document.querySelectorAll("[data-save]")) {
    const { file, text } = data.downloads[button.dataset.save];
    button.addEventListener("click", () => save(`${data.study}_${file}_${language}.csv`, text[language]));
  }
}
