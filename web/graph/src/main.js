// The graph page: search an entity, see its neighbourhood, click through; provenance on hover and in the list.
import { GraphChart } from "echarts/charts";
import { LegendComponent, TooltipComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { TYPES, WARNINGS, relationName, sourceOf, typeColour, typeName } from "./words.js";

echarts.use([GraphChart, LegendComponent, TooltipComponent, CanvasRenderer]);

const API = "/api/v1/graph/entities";
const START = "dis:cad";
const SUGGEST_AFTER_MS = 150;
const byId = (id) => document.getElementById(id);
const chart = echarts.init(byId("chart"));
let asked = 0;

async function getJson(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error?.message ?? "暂时无法读取图谱");
  return body;
}

function say(text) {
  byId("status").textContent = text;
}

function escaped(text) {
  const node = document.createElement("span");
  node.textContent = text;
  return node.innerHTML;
}

function draw({ entity, entities, edges }) {
  const kinds = Object.keys(TYPES);
  const names = new Map(entities.map((node) => [node.id, node.name]));
  chart.setOption({
    tooltip: {
      confine: true,
      extraCssText: "max-width:320px;white-space:normal",
      formatter: ({ dataType, data }) =>
        dataType === "edge"
          ? `<b>${escaped(data.label_text)}</b><br>${escaped(data.claim)}<br><small>${escaped(data.from)}</small>`
          : `<b>${escaped(data.name)}</b><br>${escaped(typeName(data.kind))}`,
    },
    legend: { type: "scroll", top: 4, data: kinds.filter((kind) => entities.some((n) => n.type === kind)).map(typeName), textStyle: { fontSize: 14 } },
    series: [{
      type: "graph", layout: "force", roam: true, draggable: true, top: 40,
      force: { repulsion: 260, edgeLength: [70, 150], gravity: 0.08 },
      label: { show: true, fontSize: 14, position: "right", formatter: "{b}" },
      labelLayout: { hideOverlap: true },
      emphasis: { focus: "adjacency" },
      edgeSymbol: ["none", "arrow"], edgeSymbolSize: 7,
      categories: kinds.map((kind) => ({ name: typeName(kind), itemStyle: { color: typeColour(kind) } })),
      data: entities.map((node) => ({
        id: node.id, name: node.name, kind: node.type, category: kinds.indexOf(node.type),
        symbolSize: node.id === entity.id ? 44 : 22,
        label: { fontWeight: node.id === entity.id ? "bold" : "normal" },
      })),
      links: edges.filter((edge) => names.has(edge.head) && names.has(edge.tail)).map((edge) => ({
        source: edge.head, target: edge.tail, claim: edge.claim, from: sourceOf(edge),
        label_text: `${names.get(edge.head)} — ${relationName(edge.relation)} — ${names.get(edge.tail)}`,
        lineStyle: { color: WARNINGS.has(edge.relation) ? "#b42318" : "#9fb3c8", width: WARNINGS.has(edge.relation) ? 2 : 1, curveness: 0.1 },
      })),
    }],
  }, true);
}

function list({ entity, entities, edges }) {
  const names = new Map(entities.map((node) => [node.id, node.name]));
  byId("name").textContent = entity.name;
  byId("type").textContent = typeName(entity.type);
  byId("definition").textContent = entity.definition ?? "";
  byId("aliases").textContent = entity.aliases.length ? `又叫：${entity.aliases.join("、")}` : "";
  byId("relations").replaceChildren(...edges.map((edge) => {
    const item = document.createElement("li");
    const otherId = edge.head === entity.id ? edge.tail : edge.head;
    const link = document.createElement("a");
    link.href = `#${encodeURIComponent(otherId)}`;
    link.textContent = names.get(otherId) ?? otherId;
    const verb = document.createElement("span");
    verb.textContent = `${relationName(edge.relation)}：`;
    if (WARNINGS.has(edge.relation)) verb.className = "warn";
    const source = document.createElement("span");
    source.className = "source";
    source.textContent = sourceOf(edge);
    item.append(verb, link, ` ${edge.claim}`, source);
    return item;
  }));
  byId("detail").hidden = false;
}

async function show(id) {
  const mine = ++asked;
  say("正在读取…");
  try {
    const around = await getJson(`${API}/${encodeURIComponent(id)}`);
    if (mine !== asked) return;
    draw(around);
    list(around);
    say("");
    document.title = `${around.entity.name} · 医学知识图谱 · 安心`;
    byId("chart").dataset.centre = around.entity.id;
    byId("chart").dataset.nodes = String(around.entities.length);
  } catch (error) {
    if (mine === asked) say(error.message);
  }
}

const go = (id) => { location.hash = encodeURIComponent(id); };
const fromHash = () => show(decodeURIComponent(location.hash.slice(1)) || START);

function suggest(items) {
  const box = byId("suggestions");
  box.replaceChildren(...items.map((item) => {
    const row = document.createElement("li");
    row.role = "option";
    row.textContent = item.name;
    const kind = document.createElement("small");
    kind.textContent = typeName(item.type);
    row.append(kind);
    row.addEventListener("click", () => { box.hidden = true; go(item.id); });
    return row;
  }));
  box.hidden = items.length === 0;
}

async function find(text) {
  return text.trim() ? (await getJson(`${API}?q=${encodeURIComponent(text.trim())}&limit=10`)).items : [];
}

let timer = 0;
byId("query").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const text = byId("query").value;
    try {
      const items = await find(text);
      if (byId("query").value === text) suggest(items);
    } catch (error) { say(error.message); }
  }, SUGGEST_AFTER_MS);
});
byId("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(timer);
  try {
    const items = await find(byId("query").value);
    suggest([]);
    if (items.length) go(items[0].id);
    else say("图谱里没有找到这个词。没有找到不代表没有风险，请咨询医生或药师。");
  } catch (error) { say(error.message); }
});
document.addEventListener("click", (event) => { if (!byId("search").contains(event.target)) byId("suggestions").hidden = true; });
chart.on("click", ({ dataType, data }) => { if (dataType === "node") go(data.id); });
addEventListener("hashchange", fromHash);
addEventListener("resize", () => chart.resize());
window.anxinChart = chart;
fromHash();
