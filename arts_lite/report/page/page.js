// The page: state, keys, pointer, search and folds.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const canvas = byId("canvas"), stage = byId("stage"), treeBox = byId("tree"), map = byId("map"), tip = byId("tip");
const trees = new Map();
let tree, layout, measures, scene, isDirty = false, mapPicture = null, numDrawn = 0;

const MIN_SCALE = 0.004, MAX_SCALE = 3, FIRST_SCALE = 0.8, LEAST_FIRST_SCALE = 0.6;

function openTree(which) {
  if (!trees.has(which)) trees.set(which, makeTree(data.trees[which]));
  tree = trees.get(which);
  measures = measuresOf(tree);
  const wanted = scene?.measure.id;
  const measure = measures.find((one) => one.id === wanted) || measures[0];
  scene = { tree, measure, range: rangeOf(measure.values), colours: readColours(), clips: {}, hits: new Set(), found: [], selected: 0, path: [0], onPath: new Set([0]), scale: 1, left: 0, top: 0 };
  const title = shortened(oneLine(tree.plain.question)) || "Reasoning tree";
  byId("title").textContent = byId("title").title = title;
  document.title = `${title.slice(0, 80)} - reasoning tree`;
  byId("summary").textContent = summaryOf(tree);
  byId("measure").replaceChildren(...measures.map((one) => {
    const option = make("option", one.name);
    option.value = one.id;
    option.selected = one === measure;
    return option;
  }));
  fillMarks();
  relayout();
  frame();
  select(0, { reveal: false });
  search(byId("search").value);
}

function relayout() {
  layout = layOut(tree);
  scene.layout = layout;
  mapPicture = null;
  hideTip();
  invalidate();
}

function invalidate() {
  if (isDirty) return;
  isDirty = true;
  requestAnimationFrame(paint);
}

function paint() {
  isDirty = false;
  keepInside();
  numDrawn = drawScene(canvas, scene);
  paintMap();
  const { order } = layout;
  const hidden = tree.size - order.length;
  byId("status").textContent =
    `${order.length.toLocaleString("en")} of ${tree.size.toLocaleString("en")} nodes unfolded${hidden ? "" : ", all"} \u00b7 ${Math.round(scene.scale * 100)} %`;
  document.body.dataset.ready = "true";
}

const acrossNow = () => scaleAcross(scene, canvas.clientWidth);

// The window never leaves the drawing.
function keepInside() {
  const keep = (at, size, room, gap) =>
    size + 2 * gap <= room ? Math.min(Math.max(at, size - room + gap), -gap) : Math.min(Math.max(at, -room / 2), size - room / 2);
  const across = acrossNow();
  scene.left = keep(scene.left, layout.width, canvas.clientWidth / across, MARGIN / across);
  scene.top = keep(scene.top, layout.height, canvas.clientHeight / scene.scale, MARGIN / scene.scale);
}

const fitAcross = () => (canvas.clientWidth - 2 * MARGIN) / layout.width;

function fitScale() {
  return Math.max(MIN_SCALE, Math.min(fitAcross(), (canvas.clientHeight - 2 * MARGIN) / layout.height));
}

// The first look: the whole tree if its texts can be read, else its whole width if they can, else its beginning.
function firstScale() {
  if (fitScale() >= LEAST_FIRST_SCALE) return Math.min(1.1, fitScale());
  return fitAcross() >= LEAST_FIRST_SCALE ? Math.min(FIRST_SCALE, fitAcross()) : FIRST_SCALE;
}

function frame() {
  scene.scale = firstScale();
  scene.left = scene.top = -MARGIN / scene.scale;
  const spare = canvas.clientHeight / scene.scale - layout.height;
  if (spare > 0) scene.top = -Math.min(spare / 2, spare - MARGIN / scene.scale);
  invalidate();
}

function fit() {
  scene.scale = Math.min(1.4, fitScale());
  scene.left = (layout.width - canvas.clientWidth / acrossNow()) / 2;
  scene.top = (layout.height - canvas.clientHeight / scene.scale) / 2;
  invalidate();
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const before = { down: scene.scale, across: acrossNow() };
  scene.scale = Math.min(MAX_SCALE, Math.max(Math.min(TEXT_SCALE, fitScale()), scene.scale * factor));
  scene.left += x / before.across - x / acrossNow();
  scene.top += y / before.down - y / scene.scale;
  invalidate();
}

function select(node, { reveal = true } = {}) {
  let above = tree.nodes.parent[node], changed = false;
  for (; above !== null; above = tree.nodes.parent[above]) changed = tree.folded.delete(above) || changed;
  if (changed) relayout();
  scene.selected = node;
  scene.path = pathTo(tree, node);
  scene.onPath = new Set(scene.path);
  fillPanel(byId("panel"), tree, node, (other) => { select(other); treeBox.focus(); });
  nameItem(byId("item"), tree, node, scene.measure);
  if (reveal) bringIntoView(node);
  invalidate();
}

function bringIntoView(node) {
  if (scene.scale < TEXT_SCALE) scene.scale = FIRST_SCALE; // one goes where one can read
  const width = canvas.clientWidth / scene.scale, height = canvas.clientHeight / scene.scale, gap = 40 / scene.scale;
  const x = xOf(tree, node), y = yOf(layout, node);
  const bring = (at, low, high, room) => {
    if (low - gap < at || high - low + 2 * gap > room) return low - gap;
    return Math.max(at, high + gap - room);
  };
  scene.left = bring(scene.left, x, x + CARD_WIDTH + 60, width);
  scene.top = bring(scene.top, y, y + CARD_HEIGHT, height);
}

function fold(node) {
  if (!tree.children[node].length) return;
  if (!tree.folded.delete(node)) tree.folded.add(node);
  if (layout.row[scene.selected] < 0) scene.selected = node;
  relayout();
  select(scene.selected, { reveal: layout.row[scene.selected] >= 0 && scene.selected === node });
}

function foldAll() {
  for (const child of tree.children[0]) if (tree.children[child].length) tree.folded.add(child);
  relayout();
  select(tree.depth[scene.selected] > 1 ? scene.path[1] : scene.selected);
}

function unfoldAll() {
  tree.folded.clear();
  relayout();
  select(scene.selected);
}

function search(query) {
  scene.found = matches(tree, query);
  scene.hits = new Set(scene.found);
  byId("found").textContent = query.trim() ? `${scene.found.length.toLocaleString("en")} found` : "";
  invalidate();
}

function step(list, forward) {
  if (!list.length) return;
  const place = list.indexOf(scene.selected);
  const after = list.findIndex((node) => node > scene.selected);
  let next = place >= 0 ? place + (forward ? 1 : -1) : forward ? after : (after < 0 ? list.length : after) - 1;
  if (place < 0 && forward && after < 0) next = 0;
  next = (next + list.length) % list.length;
  select(list[next]);
  if (list === scene.found) byId("found").textContent = `${next + 1} of ${list.length.toLocaleString("en")}`;
}

const everyNode = (holds) => Array.from({ length: tree.size }, (_, node) => node).filter(holds);

function goodLeaves() {
  const right = everyNode((node) => tree.kinds[node] === "correct");
  return right.length ? right : everyNode((node) => tree.isChosen[node]);
}

function move(key) {
  const { selected } = scene;
  const row = layout.row[selected], depth = tree.depth[selected];
  if (key === "ArrowRight") {
    if (tree.folded.has(selected)) return fold(selected);
    return tree.children[selected].length ? select(tree.children[selected][0]) : undefined;
  }
  if (key === "ArrowLeft") return selected ? select(tree.nodes.parent[selected]) : undefined;
  if (key === "Home") return select(0);
  if (key === "End") return select(layout.order[layout.rowStart[row + 1] - 1]);
  const next = nearest(tree, layout, row + (key === "ArrowDown" ? 1 : -1), depth);
  return next === null ? undefined : select(next);
}

const KEYS = {
  ...Object.fromEntries(["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"].map((key) => [key, () => move(key)])),
  Enter: () => fold(scene.selected), "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": fit,
  n: () => step(scene.found.length ? scene.found : everyNode((node) => tree.kinds[node]), true),
  p: () => step(scene.found.length ? scene.found : everyNode((node) => tree.kinds[node]), false),
  c: () => step(goodLeaves(), true),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const isTyping = event.target.closest("input, select");
  if (!isTyping && event.key === "/") {
    event.preventDefault();
    byId("search").select();
  } else if (!isTyping && event.key === "?") {
    event.preventDefault();
    byId("help").showModal();
  } else if (event.target === treeBox || event.target === document.body) {
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    hideTip();
    act();
  }
}

function onSearchKey(event) {
  if (event.key === "Enter") step(scene.found, !event.shiftKey);
  else if (event.key === "Escape") {
    if (event.target.value) {
      event.target.value = "";
      search("");
    }
    treeBox.focus();
  } else return;
  event.preventDefault();
}

const pointers = new Map();
let dragged = 0;

function place(event) {
  const frameBox = treeBox.getBoundingClientRect();
  return { x: event.clientX - frameBox.left, y: event.clientY - frameBox.top };
}

function under(at) {
  return nodeAt(tree, layout, scene.left + at.x / acrossNow(), scene.top + at.y / scene.scale);
}

function hideTip() {
  tip.hidden = true;
}

function showTip(at) {
  const node = under(at);
  treeBox.classList.toggle("pointing", node !== null);
  if (node === null) return hideTip();
  fillTip(tip, tree, node);
  tip.hidden = false;
  const room = { x: stage.clientWidth - tip.offsetWidth - 8, y: stage.clientHeight - tip.offsetHeight - 8 };
  tip.style.left = `${Math.max(8, Math.min(at.x + 16, room.x))}px`;
  tip.style.top = `${at.y + 20 > room.y ? Math.max(8, at.y - tip.offsetHeight - 14) : at.y + 20}px`;
}

function onMove(event) {
  const at = place(event), before = pointers.get(event.pointerId);
  if (!before) return event.pointerType === "mouse" ? showTip(at) : undefined;
  hideTip();
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const apart = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) || 1;
    zoom(apart(at, other) / apart(before, other), (at.x + other.x) / 2, (at.y + other.y) / 2);
  }
  const share = other ? 0.5 : 1;
  scene.left -= ((at.x - before.x) / acrossNow()) * share;
  scene.top -= ((at.y - before.y) / scene.scale) * share;
  dragged += Math.abs(at.x - before.x) + Math.abs(at.y - before.y);
  treeBox.classList.toggle("grabbing", dragged > 4);
  pointers.set(event.pointerId, at);
  return invalidate();
}

function onUp(event) {
  const wasDown = pointers.delete(event.pointerId);
  treeBox.classList.remove("grabbing");
  if (!wasDown || dragged > 4 || event.type === "pointercancel") return;
  const node = under(place(event));
  if (node !== null) select(node, { reveal: false });
}

function onWheel(event) {
  event.preventDefault();
  hideTip();
  const unit = event.deltaMode === 1 ? 32 : event.deltaMode === 2 ? canvas.clientHeight : 1;
  if (event.ctrlKey || event.metaKey) {
    const at = place(event);
    zoom(Math.exp((-event.deltaY * unit) / 400), at.x, at.y);
    return;
  }
  const sideways = event.shiftKey && !event.deltaX;
  scene.left += ((sideways ? event.deltaY : event.deltaX) * unit) / acrossNow();
  scene.top += ((sideways ? 0 : event.deltaY) * unit) / scene.scale;
  invalidate();
}
