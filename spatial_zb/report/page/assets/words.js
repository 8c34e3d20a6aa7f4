// Words and numbers in the reader's language.

const data = JSON.parse(document.getElementById("report-data").textContent);
const root = document.documentElement;
const TAGS = { en: "en", zh: "zh-CN" };

const PHRASES = {
  en: {
    noData: "No data", outside: "Not in this sample", year: (y) => `${y}`,
    unit: "Unit", value: "Value", z: "Standardised", lag: "Spatial lag", quadrant: "Quadrant", cluster: "Cluster",
    changed: "Change", low: "Lower limit", high: "Upper limit",
    received: "Received", emitted: "Emitted", direct: "Own effect", what: "Map of", select: "Select",
    units: (n) => (n === 1 ? "1 unit" : `${n} units`), comma: ", ", stop: ". ", colon: ": ",
    none: "Nothing is selected.",
    count: (n, total, mean) => `Selected: ${n} of ${total} units, mean ${mean}.`,
    moran: (i) => `Moran’s I = ${i}`, untested: "not tested",
    p: (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`),
    scatter: (variable, year) => `Moran scatter: ${variable}${year}`,
    axisX: "Standardised value", axisY: "Spatial lag of the standardised value",
    common: "Classes are common to all years.", gap: " ",
    borders: "Borders are simplified for the screen.",
    slope: "The slope of the line is Moran’s I; its p-value comes from random permutations. ",
    islands: (names) => `Without neighbours, not in the scatter: ${names}.`,
    constant: "The variable has no Moran’s I here: a value is missing, or all are equal.",
    caption: (variable, year) => `${variable}${year}`, sort: (name) => `Sort by ${name}`,
    mapOf: (title) => `Map: ${title}. Arrow keys move, Enter selects, Escape clears.`,
    scatterOf: (title) => `${title}. Arrow keys move, Enter selects, Escape clears.`,
    point: "Point at a unit to read it.", saved: (name) => `Saved ${name}`,
    km: "km", north: "N", period: "Year", id: "Id",
  },
  zh: {
    noData: "无数据", outside: "不在本样本内", year: (y) => `${y}年`,
    unit: "地区", value: "数值", z: "标准化值", lag: "空间滞后", quadrant: "象限", cluster: "聚类",
    changed: "变化", low: "下限", high: "上限",
    received: "接受的溢出", emitted: "发出的溢出", direct: "自身效应", what: "地图内容", select: "选中",
    units: (n) => `${n}个地区`, comma: "，", stop: "。", colon: "：",
    none: "未选中任何地区。",
    count: (n, total, mean) => `已选中${total}个地区中的${n}个，均值${mean}。`,
    moran: (i) => `莫兰指数 I = ${i}`, untested: "未检验",
    p: (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`),
    scatter: (variable, year) => `莫兰散点图：${variable}${year}`,
    axisX: "标准化值", axisY: "标准化值的空间滞后",
    common: "各年份采用统一分级。", gap: "", borders: "边界为屏幕显示而简化。",
    slope: "直线斜率即莫兰指数，p值由随机置换得到。",
    islands: (names) => `无邻接单元、未列入散点图：${names}。`,
    constant: "该变量此处无莫兰指数：存在缺失值或各地区数值相同。",
    caption: (variable, year) => `${variable}${year}`, sort: (name) => `按${name}排序`,
    mapOf: (title) => `地图：${title}。方向键移动，回车键选中，Esc键清除。`,
    scatterOf: (title) => `${title}。方向键移动，回车键选中，Esc键清除。`,
    point: "将指针移到地区上即可读数。", saved: (name) => `已保存${name}`,
    km: "千米", north: "北", period: "年份", id: "代码",
  },
};

let language = data.languages[0];
const relabelled = [];

/** A text of the data by its number. */
function say(number) {
  return data.words[language][number];
}

/** Fixed words of the page. */
function phrase(name, ...parts) {
  const words = PHRASES[language][name];
  return typeof words === "function" ? words(...parts) : words;
}

/** Call something now and whenever the language changes. */
function inEachLanguage(relabel) {
  relabelled.push(relabel);
  relabel();
}

function setLanguage(chosen) {
  language = chosen;
  root.lang = TAGS[chosen];
  root.dataset.language = chosen;
  const heading = document.querySelector(`h1 .${chosen}`);
  if (heading) document.title = heading.textContent;
  for (const element of document.querySelectorAll("[data-label-en]")) {
    element.setAttribute("aria-label", element.getAttribute(`data-label-${chosen}`));
  }
  relabelled.forEach((relabel) => relabel());
}

/** A number as it is read: a true minus, four significant digits, no decimals from a thousand on. */
function shown(value) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 };
  return value.toLocaleString("en-US", digits).replace("-", "−");
}

function decimals(value, places) {
  return value === null || value === undefined ? "–" : value.toFixed(places).replace("-", "−");
}

/** Decimals that give the largest of some numbers four significant digits; at most six. */
function placesOf(values) {
  const largest = Math.max(...values.map((value) => Math.abs(value ?? 0)));
  return largest ? Math.min(Math.max(3 - Math.floor(Math.log10(largest)), 0), 6) : 0;
}

/** Tell a screen reader what has changed. */
function announce(text) {
  document.getElementById("said").textContent = text;
}
