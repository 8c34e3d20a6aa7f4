// The page comes alive: language, colours, print, and the parts above.

function startLanguage() {
  const button = document.getElementById("language");
  const own = navigator.language.startsWith("zh") ? "zh" : "en";
  setLanguage(data.languages.includes(own) ? own : data.languages[0]);
  button.addEventListener("click", () => setLanguage(data.languages.find((other) => other !== language)));
}

function startTheme() {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => button.setAttribute("aria-pressed", dark());
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; show(); });
  system.addEventListener("change", show);
  show();
}

/** Mark the link of the part that is being read. */
function startPlace() {
  const strip = document.querySelector(".bar nav");
  const watch = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
    const link = strip.querySelector(`a[href="#${CSS.escape(target.id)}"]`);
    strip.querySelector("[aria-current]")?.removeAttribute("aria-current");
    link?.setAttribute("aria-current", "location");
    if (link) strip.scrollLeft = link.offsetLeft - strip.clientWidth / 2;
  }), { rootMargin: "-30% 0px -65% 0px" });
  document.querySelectorAll("section.part").forEach((part) => watch.observe(part));
}

/** A table that has to be scrolled can be reached by keyboard, under the name of its caption. */
function startScrolling() {
  const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    const wide = target.scrollWidth > target.clientWidth;
    const role = { tabindex: "0", role: "region", "aria-label": target.querySelector("caption").textContent };
    for (const [name, value] of Object.entries(role)) {
      if (wide) target.setAttribute(name, value);
      else target.removeAttribute(name);
    }
  }));
  document.querySelectorAll(".zb-table").forEach((table) => watch.observe(table));
}

// Width of an A4 page within its margins, and the size of its table type beside that of the screen.
const PAPER = 660;
const PAPER_TYPE = 0.8;

function startPrint() {
  document.getElementById("print").addEventListener("click", () => window.print());
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((part) => { part.open = true; }); // paper has nothing to click on
    document.querySelectorAll(".zb-table table").forEach(fitPaper);
  });
  addEventListener("afterprint", () => {
    opened.forEach((part) => { part.open = false; });
    document.querySelectorAll(".zb-table table").forEach((table) => { table.style.zoom = ""; });
  });
}

/** Make a table that is too wide for paper, however its cells wrap, smaller. */
function fitPaper(table) {
  table.style.width = "1px";
  const least = table.offsetWidth * PAPER_TYPE;
  table.style.width = "";
  table.style.zoom = least > PAPER ? PAPER / least : "";
}

/** Give every place of a kind, in the order of the page, the entries of its section. */
function startEach(kind, show) {
  let first = 0;
  for (const place of document.querySelectorAll(`.${kind}`)) {
    const last = first + Number(place.closest("section").dataset[kind]);
    show(place, data[kind].slice(first, last));
    first = last;
  }
}

root.dataset.alive = "true";
startLanguage();
startTheme();
startPrint();
startScrolling();
startPlace();
startTableDownloads();
startChoices();
if (data.atlas) {
  startHatch();
  startExplorer();
  startEach("effects", showEffects);
  startEach("paths", showPaths);
}
startLinks();
root.dataset.ready = "true";
