// The small map, the legend, and the beginning of everything.

const MAP_WIDTH = 190, MAP_HEIGHT = 130;

// The small map keeps its width: of many rows one sees the colours only.
function mapScale() {
  const down = Math.min(MAP_WIDTH / layout.width, MAP_HEIGHT / layout.height);
  return { down, across: Math.max(down, Math.min(MAP_WIDTH / layout.width, 0.1)) };
}

function paintMapPicture(ratio) {
  const picture = document.createElement("canvas");
  const { down, across } = mapScale();
  picture.width = Math.max(1, Math.ceil(layout.width * across * ratio));
  picture.height = Math.max(1, Math.ceil(layout.height * down * ratio));
  const context = picture.getContext("2d");
  context.scale(ratio, ratio);
  const { low, high } = scene.range;
  const height = Math.max(CARD_HEIGHT * down, 0.7), width = Math.max(CARD_WIDTH * across, 1.2);
  for (const node of layout.order) {
    const value = scene.measure.values[node];
    context.fillStyle = Number.isNaN(value) ? scene.colours.faint : rampColour(scene.colours.ramp, (value - low) / (high - low));
    context.fillRect(xOf(tree, node) * across, yOf(layout, node) * down, width, height);
  }
  return picture;
}

function paintMap() {
  const room = { width: canvas.clientWidth / acrossNow(), height: canvas.clientHeight / scene.scale };
  map.hidden = layout.width <= room.width * 1.02 && layout.height <= room.height * 1.02;
  if (map.hidden) return;
  const ratio = window.devicePixelRatio || 1, { down, across } = mapScale(), pad = 6;
  mapPicture ??= paintMapPicture(ratio);
  const width = layout.width * across, height = layout.height * down;
  map.style.width = `${width + 2 * pad}px`;
  map.style.height = `${height + 2 * pad}px`;
  map.width = (width + 2 * pad) * ratio;
  map.height = (height + 2 * pad) * ratio;
  const context = map.getContext("2d");
  context.drawImage(mapPicture, pad * ratio, pad * ratio);
  context.scale(ratio, ratio);
  context.strokeStyle = scene.colours.focus;
  context.lineWidth = 1.5;
  const clip = (at, size) => Math.min(Math.max(at, 0), size);
  const left = clip(scene.left * across, width), top = clip(scene.top * down, height);
  const right = clip((scene.left + room.width) * across, width), bottom = clip((scene.top + room.height) * down, height);
  context.strokeRect(left + pad, top + pad, Math.max(right - left, 3), Math.max(bottom - top, 3));
}

function onMap(event) {
  if (!event.buttons) return;
  const { down, across } = mapScale();
  scene.left = (event.offsetX - 6) / across - canvas.clientWidth / acrossNow() / 2;
  scene.top = (event.offsetY - 6) / down - canvas.clientHeight / scene.scale / 2;
  invalidate();
}

function fillRamp() {
  const ramp = byId("ramp"), ratio = window.devicePixelRatio || 1;
  ramp.style.width = "180px";
  ramp.style.height = "10px";
  ramp.width = 180 * ratio;
  ramp.height = 10 * ratio;
  const context = ramp.getContext("2d");
  for (let at = 0; at < ramp.width; at++) {
    context.fillStyle = rampColour(scene.colours.ramp, at / (ramp.width - 1));
    context.fillRect(at, 0, 1, ramp.height);
  }
  const { low, high, isCut } = scene.range;
  byId("ramp-title").textContent = scene.measure.title;
  byId("ramp-low").textContent = `${isCut ? "\u2264 " : ""}${shown(+low.toPrecision(3))}`;
  byId("ramp-mid").textContent = shown(+((low + high) / 2).toPrecision(3));
  byId("ramp-high").textContent = `${isCut ? "\u2265 " : ""}${shown(+high.toPrecision(3))}`;
}

function sample(draw) {
  const picture = make("canvas"), ratio = window.devicePixelRatio || 1;
  [picture.width, picture.height] = [22 * ratio, 14 * ratio];
  picture.style.width = "22px";
  picture.style.height = "14px";
  const context = picture.getContext("2d");
  context.scale(ratio, ratio);
  draw(context);
  return picture;
}

function line(context, colour, dashes) {
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.setLineDash(dashes);
  context.beginPath();
  context.moveTo(0, 7);
  context.lineTo(22, 7);
  context.stroke();
}

// The legend names only what occurs.
function fillMarks() {
  const items = [];
  const add = (text, draw) => {
    const item = make("li");
    item.append(sample(draw), make("span", text));
    items.push(item);
  };
  const { colours } = scene;
  add("main trace", (context) => line(context, colours.main, []));
  if (tree.isMain.includes(0)) add("fork", (context) => line(context, colours.fork, [5, 4]));
  for (const kind of RANK) {
    if (tree.ends.some((ends) => ends.some((end) => end.kind === kind))) add(STATES[kind], (context) => drawSign(context, colours, kind, 11, 7, 13));
  }
  if (scene.measure.values.slice(1).some(Number.isNaN)) add("no value", (context) => { context.strokeStyle = colours.faint; context.strokeRect(6.5, 1.5, 9, 11); });
  if (tree.isChosen.includes(true)) add("chosen answer", (context) => { context.fillStyle = colours.ink; context.font = `12px ${FONT}`; context.textAlign = "center"; context.textBaseline = "middle"; context.fillText("\u2605", 11, 7.5); });
  byId("marks").replaceChildren(...items);
  fillRamp();
}

function setMeasure(id) {
  scene.measure = measures.find((one) => one.id === id);
  scene.range = rangeOf(scene.measure.values);
  recolour();
}

function recolour() {
  scene.colours = readColours();
  mapPicture = null;
  fillMarks();
  nameItem(byId("item"), tree, scene.selected, scene.measure);
  invalidate();
}

function listen() {
  document.addEventListener("keydown", onKey);
  byId("search").addEventListener("input", (event) => search(event.target.value));
  byId("search").addEventListener("keydown", onSearchKey);
  byId("measure").addEventListener("change", (event) => setMeasure(event.target.value));
  byId("which").addEventListener("change", (event) => openTree(Number(event.target.value)));
  const onClick = { "zoom-in": () => zoom(1.25), "zoom-out": () => zoom(0.8), fit, "fold-all": foldAll, "unfold-all": unfoldAll, "help-button": () => byId("help").showModal() };
  for (const [id, act] of Object.entries(onClick)) byId(id).addEventListener("click", act);
  treeBox.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (!pointers.size) dragged = 0;
    pointers.set(event.pointerId, place(event));
    treeBox.setPointerCapture(event.pointerId);
  });
  treeBox.addEventListener("pointermove", onMove);
  treeBox.addEventListener("pointerup", onUp);
  treeBox.addEventListener("pointercancel", onUp);
  treeBox.addEventListener("pointerleave", hideTip);
  treeBox.addEventListener("dblclick", (event) => {
    const node = under(place(event));
    if (node !== null) fold(node);
  });
  treeBox.addEventListener("wheel", onWheel, { passive: false });
  map.addEventListener("pointerdown", onMap);
  map.addEventListener("pointermove", onMap);
  new ResizeObserver(invalidate).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
}

function start() {
  const which = byId("which");
  which.hidden = data.trees.length < 2;
  data.trees.forEach((plain, place) => {
    const option = make("option", `${place + 1}: ${oneLine(plain.question).slice(0, 60)}`);
    option.value = String(place);
    which.append(option);
  });
  byId("provenance").textContent = `arts-lite ${data.version}`;
  listen();
  openTree(0);
  treeBox.focus({ preventScroll: true });
}

start();
// For tests and the curious; nothing on the page depends on it.
window.artsTree = {
  state: () => ({
    selected: scene.selected, numNodes: tree.size, numUnfolded: layout.order.length, numDrawn, numFound: scene.found.length, scale: scene.scale,
    left: scene.left, top: scene.top, measure: scene.measure.id, kinds: tree.kinds, isDirty,
  }),
  placeOf: (node) => ({ x: (xOf(tree, node) + CARD_WIDTH / 2 - scene.left) * acrossNow(), y: (yOf(layout, node) + CARD_HEIGHT / 2 - scene.top) * scene.scale }),
};
