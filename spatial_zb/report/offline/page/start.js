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

function startPrint() {
  document.getElementById("print").addEventListener("click", () => window.print());
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
}

root.dataset.alive = "true";
startLanguage();
startTheme();
startPrint();
startTableDownloads();
startChoices();
if (data.atlas) {
  startHatch();
  startExplorer();
  startEffects();
}
root.dataset.ready = "true";
