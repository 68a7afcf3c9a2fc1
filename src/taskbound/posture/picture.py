"""Picture: the graph as one HTML file, drawn by Cytoscape, which is in it. It loads nothing and sends nothing.

What the file runs is named by digest in its policy, so that nothing which stands in a scanned file can run. The
graph is data in it, not script. Of a large one the part is drawn that matters most: what is shared, and who shares it.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from html import escape
from typing import Any

from taskbound.posture.answers import SAYS, id_of
from taskbound.posture.graph import CREDENTIAL, HOLDER, IDENTITY, OWNER, TARGET, Graph, reach
from taskbound.posture.sighting import Place

MOST = 300  # things drawn; more of them nobody can look at, and the layout takes longer than ten seconds
KINDS = {  # in the order of columns, with the words of the legend
    OWNER: "Owners",
    HOLDER: "Holders",
    CREDENTIAL: "Credentials",
    IDENTITY: "Identities",
    TARGET: "Targets",
}
PLACES = 5  # of an edge, told; the command tells all
OURS = '<meta name="generator" content="taskbound graph picture">'  # by which one is known that may be written over

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--paper:#fff;--card:#f6f8fa;--line:#d0d7de;--edge:#9aa4af;
--owner:#6e4fc9;--holder:#0a5cad;--credential:#b35900;--identity:#1a7f4b;--target:#a40e26}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9aa4af;--paper:#0d1117;--card:#161b22;--line:#30363d;
--edge:#5b6672;--owner:#b39df5;--holder:#79b8ff;--credential:#f0a35e;--identity:#56d391;--target:#ff8182}}
*{box-sizing:border-box}
html,body{height:100%}
body{margin:0;display:flex;flex-direction:column;font:15px/1.45 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
header{padding:.75rem 1rem;border-bottom:1px solid var(--line)}
h1{font-size:1.15rem;margin:0}h2{font-size:1rem;margin:0 0 .5rem;overflow-wrap:anywhere}
h3{font-size:.8rem;margin:1rem 0 .25rem;color:var(--dim);font-weight:600}
p{margin:.15rem 0 0}.dim{color:var(--dim)}
.bar{display:flex;flex-wrap:wrap;gap:.5rem;margin-top:.6rem;align-items:center}
input,button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:6px;
padding:.25rem .6rem;min-height:2rem}
input{flex:1 1 10rem;max-width:20rem}input[aria-invalid=true]{border-color:var(--target);color:var(--target)}
button{cursor:pointer}
button[aria-pressed=false]{opacity:.5;text-decoration:line-through}
:focus-visible{outline:2px solid var(--holder);outline-offset:1px}
.dot{display:inline-block;width:.7rem;height:.7rem;margin-right:.4rem;background:var(--tone)}
.owner{--tone:var(--owner)}.holder{--tone:var(--holder)}.credential{--tone:var(--credential)}
.identity{--tone:var(--identity)}.target{--tone:var(--target)}
.dot.owner,.dot.holder{border-radius:50%}.dot.holder,.dot.target{border-radius:2px}.dot.identity{border-radius:50%}
.dot.credential{transform:rotate(45deg) scale(.85)}

main{flex:1;display:flex;min-height:0}
#drawing{flex:1;min-width:0;min-height:0;position:relative}
aside{width:23rem;overflow:auto;padding:1rem;border-left:1px solid var(--line);background:var(--card)}
ul{margin:0;padding:0;list-style:none}li{padding:.3rem 0;border-top:1px solid var(--line);overflow-wrap:anywhere}
aside button.link{all:unset;cursor:pointer;color:var(--holder);overflow-wrap:anywhere}
aside button.link:focus-visible{outline:2px solid var(--holder)}
code{font:.8rem/1.4 ui-monospace,monospace;color:var(--dim);overflow-wrap:anywhere;display:block}
@media(max-width:44rem){main{flex-direction:column}#drawing{flex:1 1 55%}aside{width:auto;flex:0 1 45%;border-left:0;
border-top:1px solid var(--line)}header{padding:.6rem .75rem}button{padding:.2rem .45rem;font-size:.85rem}
input{max-width:none;flex-basis:100%}}
@media print{header .bar,aside{display:none}}
"""

SCRIPT = r"""
"use strict";
const data = JSON.parse(document.getElementById("graph").textContent);
const nodes = new Map(data.things.map((one) => [one.id, one]));
const byEnd = new Map(data.things.map((one) => [one.id, []]));
data.edges.forEach((one) => { byEnd.get(one.source).push(one); byEnd.get(one.target).push(one); });
const aside = document.querySelector("aside");
const shape = {owner: "ellipse", holder: "round-rectangle", credential: "diamond", identity: "hexagon",
  target: "rectangle"};
const isPhone = () => innerWidth <= 704;
const LETTERS = 15, FONT = "system-ui, sans-serif";  // px
const wide = () => isPhone() ? 164 : 200, high = 80;  // px from column to column, and from row to row of two lines
const pen = document.createElement("canvas").getContext("2d");
// A name in two lines at most, broken where a part of it ends; what has no room loses its middle, since ends differ.
const short = (text, isBold) => {
  pen.font = (isBold ? "bold " : "") + LETTERS + "px " + FONT;
  const room = wide() - 12, size = (line) => pen.measureText(line).width;
  const cut = (line) => {
    let most = line.length;
    const kept = () => most < line.length ? line.slice(0, most - 8) + "…" + line.slice(-7) : line;
    while (size(kept()) > room) { most -= 1; }
    return kept();
  };
  if (size(text) <= room) { return text; }
  const ends = [...text.matchAll(/(?=@| …)|(?<=[ /:._-])/g)].map((one) => one.index).filter((at) => at > 0);
  const halves = ends.map((at) => [text.slice(0, at).trim(), text.slice(at).trim()]);
  const longer = (both) => Math.max(...both.map(size));
  const best = halves.find((both) => "@…".includes(both[1][0]) && longer(both) <= room)
    || halves.sort((a, b) => longer(a) - longer(b))[0] || [text];
  return best.map(cut).join("\n");
};
const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const look = () => [
  {selector: "node", style: {label: "data(short)", color: tone("ink"), "font-size": LETTERS, "font-family": FONT,
    "text-valign": "bottom", "text-margin-y": 4, "text-background-color": tone("paper"),
    "text-background-opacity": 0.85, "text-background-padding": 1, "text-wrap": "wrap", "text-max-width": 2 * wide(),
    width: 24, height: 24,
    "border-width": 0, "min-zoomed-font-size": 4}},
  ...Object.keys(shape).map((kind) => ({selector: "node." + kind,
    style: {shape: shape[kind], "background-color": tone(kind)}})),
  {selector: "node[shared > 1]", style: {width: 36, height: 36, "font-weight": "bold"}},
  {selector: "edge", style: {width: 1.5, "line-color": tone("edge"), "target-arrow-color": tone("edge"),
    "target-arrow-shape": "triangle", "arrow-scale": 0.8, "curve-style": "bezier"}},
  {selector: ".off", style: {display: "none"}},
  {selector: ".far", style: {opacity: 0.12, "text-opacity": 0}},
  {selector: "edge.near", style: {width: 2.5, "line-color": tone("ink"), "target-arrow-color": tone("ink")}},
  {selector: "node:selected", style: {"border-width": 3, "border-color": tone("ink")}},
];
// Each part that hangs together is a block of columns, what leads to others on the left; blocks stand in shelves.
const columns = () => {
  const order = {owner: 0, holder: 2, credential: 3, identity: 4, target: 5};
  const starts = new Set(data.edges.filter((one) => one.says === "starts").map((one) => one.source));
  const column = (one) => starts.has(one.id) ? 1 : order[one.kind];
  const seen = new Set(), blocks = [];
  data.things.forEach((start) => {
    if (seen.has(start.id)) { return; }
    const block = [], waiting = [start.id];
    seen.add(start.id);
    while (waiting.length) {
      const id = waiting.pop();
      block.push(nodes.get(id));
      byEnd.get(id).forEach((edge) => [edge.source, edge.target].forEach((other) => {
        if (!seen.has(other)) { seen.add(other); waiting.push(other); }
      }));
    }
    blocks.push(block);
  });
  const laid = blocks.map((block) => {
    const used = [...new Set(block.map(column))].sort((a, b) => a - b);
    const rows = used.map((n) => block.filter((one) => column(one) === n));
    const most = Math.max(...rows.map((own) => own.length));
    const at = {};
    const set = (own) => own.forEach((one, n) => { at[one.id] = n - (own.length - 1) / 2; });
    const middle = (one) => {
      const beside = byEnd.get(one.id).map((edge) => at[edge.source === one.id ? edge.target : edge.source]);
      return beside.reduce((sum, y) => sum + y, 0) / Math.max(beside.length, 1);
    };
    rows.forEach(set);
    for (let turn = 0; turn < 8; turn += 1) {
      (turn % 2 ? [...rows].reverse() : rows).forEach((own) => {
        const by = new Map(own.map((one) => [one, middle(one)]));
        own.sort((a, b) => by.get(a) - by.get(b));
        set(own);
      });
    }
    const place = {};
    rows.forEach((own, n) => own.forEach((one) => {
      place[one.id] = {x: n * wide(), y: (at[one.id] + (most - 1) / 2) * high};
    }));
    return {place, width: rows.length * wide(), height: most * high + 24};
  }).sort((a, b) => b.height - a.height);
  const box = document.getElementById("drawing").getBoundingClientRect();
  const area = laid.reduce((sum, one) => sum + one.width * one.height, 0);
  const most = Math.max(...laid.map((one) => one.width), Math.sqrt(area * box.width / Math.max(box.height, 1)) * 1.1);
  const place = {};
  let x = 0, y = 0, shelf = 0;
  laid.forEach((one) => {
    if (x && x + one.width > most) { x = 0; y += shelf; shelf = 0; }
    Object.entries(one.place).forEach(([id, own]) => { place[id] = {x: x + own.x, y: y + own.y}; });
    x += one.width;
    shelf = Math.max(shelf, one.height);
  });
  return place;
};
const place = columns();
const cy = cytoscape({
  container: document.getElementById("drawing"),
  elements: [
    ...data.things.map((one) => ({group: "nodes", classes: one.kind, position: {...place[one.id]},
      data: {id: one.id, short: short(one.label, one.shared > 1), shared: one.shared}})),
    ...data.edges.map((one, n) => ({group: "edges", data: {id: "e" + n, source: one.source, target: one.target}})),
  ],
  style: look(), layout: {name: "preset"}, minZoom: 0.05, maxZoom: 3, boxSelectionEnabled: false,
});
const LEAST = 0.65;  // below it nobody reads the names: then it begins at what most hold, to be moved
const FEWER = 0.5;  // where the others have faded
const arrange = () => {
  const place = columns();
  cy.nodes().positions((node) => place[node.id()]);
  cy.fit(cy.nodes(), 30);
  if (cy.zoom() > 1.3) { cy.zoom(1.3); cy.center(); }
  if (cy.zoom() < LEAST) {
    cy.zoom(LEAST);
    const box = cy.nodes().boundingBox(), most = cy.nodes().max((one) => one.data("shared")).ele.position();
    const start = (room, from, size, middle) => size * LEAST + 16 <= room ? (room - size * LEAST) / 2 - from * LEAST
      : Math.min(16 - from * LEAST, room / 2 - middle * LEAST);
    cy.pan({x: start(cy.width(), box.x1, box.w, most.x), y: start(cy.height(), box.y1, box.h, most.y)});
  }
};
const make = (tag, text, parent) => {
  const one = document.createElement(tag);
  one.textContent = text;
  parent.append(one);
  return one;
};
const go = (id) => {
  cy.elements().unselect();
  const node = cy.getElementById(id);
  node.select();
  if (node.hasClass("off")) { return; }
  const all = chain(node), box = all.boundingBox();
  const zoom = Math.min((cy.width() - 60) / box.w, (cy.height() - 60) / box.h, 1.3);
  cy.animate(zoom < FEWER ? {center: {eles: node}, duration: 150} : {zoom, center: {eles: all}, duration: 150});
};
const chain = (chosen) => chosen.union(chosen.successors()).union(chosen.predecessors());
const kinds = {owner: "owner", holder: "holder", credential: "credential", identity: "identity", target: "target"};
const tell = (id) => {
  const one = nodes.get(id);
  aside.replaceChildren();
  make("h2", one.label, aside);
  const about = [one.role || kinds[one.kind], one.environment, one.name !== one.label && one.name].filter(Boolean);
  make("p", about.join(" · "), aside).className = "dim";
  make("p", one.owner ? "owner: " + one.owner : one.kind === "owner" || one.kind === "target" ? "" : "owner not known",
    aside);
  [["Led to by", byEnd.get(id).filter((edge) => edge.target === id), "source"],
   ["Leads to", byEnd.get(id).filter((edge) => edge.source === id), "target"]].forEach(([title, some, end]) => {
    if (!some.length) { return; }
    make("h3", title, aside);
    const list = make("ul", "", aside);
    some.forEach((edge) => {
      const item = make("li", "", list);
      if (end === "target") { item.append(edge.says + " "); }
      const link = make("button", nodes.get(edge[end]).label, item);
      link.className = "link";
      link.addEventListener("click", () => go(edge[end]));
      if (end === "source") { item.append(" " + edge.says + " it"); }
      edge.at.forEach((where) => make("code", where, item));
      if (edge.more) { make("code", "and " + edge.more + " more", item); }
    });
  });
};
const near = () => {
  const chosen = cy.$("node:selected");
  cy.elements().removeClass("far near");
  if (!chosen.length) { return; }
  const kept = chain(chosen);
  cy.elements().not(kept).addClass("far");
  kept.edges().addClass("near");
};
const first = aside.cloneNode(true);
cy.on("select", "node", (event) => { tell(event.target.id()); near(); });
cy.on("unselect", "node", () => {
  near();
  if (!cy.$("node:selected").length) { aside.replaceChildren(...first.cloneNode(true).childNodes); }
});
document.querySelectorAll("button[data-kind]").forEach((button) => button.addEventListener("click", () => {
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  cy.nodes("." + button.dataset.kind).toggleClass("off", !shown);
}));
document.getElementById("fit").addEventListener("click", () => {
  document.querySelectorAll("button[data-kind]").forEach((button) => button.setAttribute("aria-pressed", "true"));
  cy.nodes().removeClass("off");
  cy.fit(cy.nodes(), 30);
});
const find = document.getElementById("find");
const search = (turn) => {  // turn: 0 the first of that name, 1 the next, and after the last the first again
  const wanted = find.value.trim().toLowerCase();
  const all = wanted ? data.things.filter((one) => (one.label + " " + one.name).toLowerCase().includes(wanted)) : [];
  find.setAttribute("aria-invalid", String(Boolean(wanted && !all.length)));
  const now = turn ? all.findIndex((one) => cy.getElementById(one.id).selected()) : -1;
  if (all.length) { go(all[(now + 1) % all.length].id); } else { cy.elements().unselect(); }
};
find.addEventListener("input", () => search(0));
find.addEventListener("keydown", (event) => { if (event.key === "Enter") { search(1); } });
aside.addEventListener("click", (event) => {
  if (event.target.dataset && event.target.dataset.go) { go(event.target.dataset.go); }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cy.style(look()));
addEventListener("resize", () => { cy.resize(); arrange(); });
arrange();
if (location.hash) {
  const named = decodeURIComponent(location.hash.slice(1));
  const found = data.things.find((one) => one.name === named || one.label === named);
  if (found) { go(found.id); }
}
"""


def as_html(graph: Graph, cytoscape: str, title: str, around: int | None = None) -> str:
    """Return the picture of a graph, or of what a thing reaches and what leads to it."""
    wanted = list(dict.fromkeys(_around(graph, around) if around is not None else _by_weight(graph)))
    shown = _data(graph, sorted(wanted[:MOST]))
    return "".join(f"{line}\n" for line in _lines(shown, len(wanted), cytoscape, title))


def _around(graph: Graph, start: int) -> Iterator[int]:
    """Yield a thing, what leads to it, and what it reaches, nearest first."""
    yield start
    waiting, seen = [start], {start}
    while waiting:
        waiting = [before for at in waiting for before in graph.led_from[at] if before not in seen]
        waiting = list(dict.fromkeys(waiting))
        seen.update(waiting)
        yield from waiting
    yield from reach(graph, start).found


def _by_weight(graph: Graph) -> Iterator[int]:
    """Yield what matters most first: credentials by how many hold them, each with its holders and what it leads to."""
    things = graph.things

    def weight(number: int) -> tuple[int, int]:
        return -len(graph.led_from[number]), -len(graph.leads_to[number])

    credentials = sorted((n for n, one in enumerate(things) if one.kind == CREDENTIAL), key=weight)
    for number in credentials:
        yield number
        yield from graph.led_from[number]
        yield from graph.leads_to[number]
        for after in graph.leads_to[number]:
            yield from graph.leads_to[after]
            yield from (one for one in graph.led_from[after] if things[one].kind == OWNER)
    for number in range(len(things)):  # what holds nothing is drawn where it leads somewhere
        if graph.leads_to[number] or graph.led_from[number]:
            yield number


def _data(graph: Graph, drawn: list[int]) -> dict[str, Any]:
    inside = set(drawn)
    edges = [(number, to) for number in drawn for to in graph.leads_to[number] if to in inside]
    return {
        "things": [_thing(graph, number) for number in drawn],
        "edges": [
            {
                "source": str(number),
                "target": str(to),
                "says": SAYS[graph.things[number].kind, graph.things[to].kind],
                "at": [_at(place) for place in graph.seen_at(number, to)[:PLACES]],
                "more": max(len(graph.seen_at(number, to)) - PLACES, 0),
            }
            for number, to in edges
        ],
    }


def _thing(graph: Graph, number: int) -> dict[str, Any]:
    one = graph.things[number]
    held = sum(graph.things[before].kind == HOLDER for before in graph.led_from[number])
    return {
        "id": str(number),
        "kind": one.kind,
        "name": id_of(one) if one.kind == CREDENTIAL else one.name,
        "label": one.label,
        "role": one.role,
        "environment": one.environment,
        "owner": graph.owner(number) if one.kind not in (OWNER, TARGET) else "",
        "shared": held if one.kind == CREDENTIAL else 0,
    }


def _at(place: Place) -> str:
    return f"{place.path}:{place.line}"


def _lines(data: dict[str, Any], wanted: int, cytoscape: str, title: str) -> Iterator[str]:
    scripts = " ".join(f"'sha256-{_digest(one)}'" for one in (cytoscape, SCRIPT))
    policy = f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    things = data["things"]
    part = f"{len(things):,} of {wanted:,} things are drawn, those first that most hold" if wanted > len(things) else ""
    yield f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">{OURS}'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>"
    yield f"<h1>{_text(title)}</h1>"
    yield f'<p class="dim">{part}</p>' if part else ""
    yield '<div class="bar"><input id="find" type="search" placeholder="Find a name" aria-label="Find a name">'
    for kind, word in KINDS.items():
        count = sum(one["kind"] == kind for one in things)
        dot = f'<span class="dot {kind}"></span>'
        yield f'<button data-kind="{kind}" aria-pressed="true">{dot}{word} {count}</button>' if count else ""
    yield '<button id="fit">Show all</button></div>\n</header>'
    yield '<main>\n<div id="drawing" role="img" aria-label="The graph; each thing is listed beside it"></div>\n<aside>'
    yield from _first(data)
    yield f'</aside>\n</main>\n<script type="application/json" id="graph">{_json(data)}</script>'
    yield f"<script>{cytoscape}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>"


def _first(data: dict[str, Any]) -> Iterator[str]:
    """Yield what stands beside the drawing until something is chosen: everything by name, the shared ones first."""
    things = data["things"]
    yield (
        "<h2>Choose a thing to see what leads to it, and what it reaches</h2>"
        if things
        else "<h2>Nothing was seen</h2>"
    )
    shared = sorted((one for one in things if one["shared"] > 1), key=lambda one: (-one["shared"], one["label"]))
    yield from _listed("Held by more than one", ((one, f" {one['shared']} holders") for one in shared))
    for kind, word in KINDS.items():
        some = (one for one in things if one["kind"] == kind and one["shared"] < 2)
        yield from _listed(word, ((one, "") for one in some))


def _listed(title: str, rows: Iterable[tuple[dict[str, Any], str]]) -> Iterator[str]:
    items = [
        f'<li><button class="link" data-go="{one["id"]}">{_text(one["label"])}</button>{_text(more)}</li>'
        for one, more in rows
    ]
    yield from (f"<h3>{_text(title)}</h3>", "<ul>", *items, "</ul>") if items else ()


def _json(data: dict[str, Any]) -> str:
    """Write data so that nothing of it can end the element that it stands in."""
    told = json.dumps(data, separators=(",", ":"))
    return told.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()


def _text(text: str) -> str:
    """Escape a text for content and attributes; what steers a reader's eye is spelled out."""
    return escape("".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text))
