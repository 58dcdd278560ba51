// Drawing on the canvas: only what lies in the window, with as much detail as the scale allows.

const FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif';
const TEXT_SCALE = 0.42; // below it boxes have no text
const SWATCH = 9;
const MARGIN = 28; // pixels around the drawing

// Outlines what has been traced, in pixels: below TEXT_SCALE the two directions are scaled differently.
function strokePixels(context, scene, width) {
  const ratio = window.devicePixelRatio || 1;
  context.save();
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.lineWidth = width;
  context.stroke();
  context.restore();
}

function drawTrunk(context, view, x, from, to) {
  const top = Math.max(from, view.top - ROW), bottom = Math.min(to, view.bottom + ROW);
  if (top >= bottom) return;
  context.moveTo(x, top);
  context.lineTo(x, bottom);
}

// Lines of one kind (main or fork) in one stroke: down from the parents, and across to the children.
function drawLines(context, scene, view, isMain) {
  const { tree, layout, scale } = scene;
  const { parent } = tree.nodes;
  const last = isMain ? layout.lastMain : layout.lastFork;
  const out = CARD_WIDTH + (isMain ? 13 : 21), radius = 8, half = CARD_HEIGHT / 2;
  context.beginPath();
  for (const node of layout.order) {
    const x = xOf(tree, node), y = yOf(layout, node) + half;
    if (last[node] >= 0 && y <= view.bottom && x + out >= view.left && x <= view.right) {
      const end = last[node] * ROW + half - radius;
      if (end >= view.top) {
        context.moveTo(x + CARD_WIDTH, y);
        context.lineTo(x + out - radius, y);
        context.quadraticCurveTo(x + out, y, x + out, y + radius);
        drawTrunk(context, view, x + out, y + radius, end);
      }
    }
    if (node === 0 || Boolean(tree.isMain[node]) !== isMain || y < view.top || y > view.bottom + ROW) continue;
    const above = parent[node], from = xOf(tree, above);
    if (from > view.right || x < view.left) continue;
    if (layout.row[above] === layout.row[node]) {
      context.moveTo(from + CARD_WIDTH, y);
    } else {
      context.moveTo(from + out, y - radius);
      context.quadraticCurveTo(from + out, y, from + out + radius, y);
    }
    context.lineTo(x, y);
  }
  context.setLineDash(isMain || scale < 0.15 ? [] : [5 * Math.max(scale, 0.6), 4 * Math.max(scale, 0.6)]);
  context.lineDashOffset = 0;
  context.strokeStyle = isMain ? scene.colours.main : scene.colours.fork;
  context.globalAlpha = scale < 0.1 ? 0.45 : 1; // of an overview the colours matter more
  strokePixels(context, scene, Math.max(1.8 * scale, 0.7));
  context.globalAlpha = 1;
  context.setLineDash([]);
}

function drawSelectedPath(context, scene, view) {
  const { tree, layout } = scene;
  const half = CARD_HEIGHT / 2;
  context.beginPath();
  for (const node of scene.path) {
    if (node === 0 || layout.row[node] < 0) continue;
    const above = tree.nodes.parent[node];
    const x = xOf(tree, node), y = yOf(layout, node) + half, from = xOf(tree, above), top = yOf(layout, above) + half;
    const out = from + CARD_WIDTH + (tree.isMain[node] ? 13 : 21);
    context.moveTo(from + CARD_WIDTH, top);
    if (top !== y) {
      context.lineTo(out - 8, top);
      context.quadraticCurveTo(out, top, out, top + 8);
      context.lineTo(out, y - 8);
      context.quadraticCurveTo(out, y, out + 8, y);
    }
    context.lineTo(x, y);
  }
  context.strokeStyle = scene.colours.ink;
  strokePixels(context, scene, Math.max(2.6 * scene.scale, 1.6));
}

function clipped(context, cache, text, width) {
  const known = cache.get(text);
  if (known !== undefined) return known;
  let label = text.length > 60 ? text.slice(0, 60) : text;
  if (label !== text || context.measureText(label).width > width) {
    while (label.length > 1 && context.measureText(`${label}\u2026`).width > width) label = label.slice(0, -1);
    label = `${label.trimEnd().replace(/[\ud800-\udbff]$/, "")}\u2026`;
  }
  cache.set(text, label);
  return label;
}

function fillSwatch(context, scene, node, x, y, width, height) {
  const value = scene.measure.values[node];
  if (Number.isNaN(value)) {
    context.strokeStyle = scene.colours.faint;
    context.beginPath();
    context.rect(x + 0.5, y + 0.5, width - 1, height - 1);
    strokePixels(context, scene, Math.max(scene.scale, 0.6));
    return;
  }
  const { low, high } = scene.range;
  context.fillStyle = rampColour(scene.colours.ramp, (value - low) / (high - low));
  context.fillRect(x, y, width, height);
}

function box(context, x, y, width, height, radius) {
  context.beginPath();
  context.roundRect(x, y, width, height, radius);
}

function drawCard(context, scene, node) {
  const { tree, layout, colours } = scene;
  const x = xOf(tree, node), y = yOf(layout, node), middle = y + CARD_HEIGHT / 2;
  box(context, x, y, CARD_WIDTH, CARD_HEIGHT, 6);
  context.fillStyle = colours.card;
  context.fill();
  context.save();
  context.clip();
  fillSwatch(context, scene, node, x, y, SWATCH, CARD_HEIGHT);
  context.restore();
  box(context, x, y, CARD_WIDTH, CARD_HEIGHT, 6);
  context.strokeStyle = scene.onPath.has(node) ? colours.ink : colours["card-line"];
  context.lineWidth = scene.onPath.has(node) ? 1.8 : 1;
  context.stroke();

  let right = x + CARD_WIDTH - 7;
  context.textBaseline = "middle";
  context.textAlign = "right";
  if (tree.kinds[node]) {
    drawSign(context, colours, tree.kinds[node], right - 6, middle, 14);
    right -= 18;
  }
  const draws = tree.nodes.num_draws[node];
  const value = scene.measure.values[node];
  const notes = [];
  if (draws > 1 && node) notes.push(`\u00d7${draws}`);
  if (scene.measure.id === "log_flow" && !Number.isNaN(value)) notes.push(value.toFixed(1).replace(/^-0\.0$/, "0.0"));
  const note = notes.join("  ");
  if (note) {
    context.font = `10.5px ${FONT}`;
    context.fillStyle = colours.soft;
    context.fillText(note, right, middle + 0.5);
    right -= context.measureText(note).width + 5;
  }
  context.textAlign = "left";
  context.font = `${node === 0 ? "600 " : ""}12px ${FONT}`;
  context.fillStyle = colours.ink;
  const room = right - x - SWATCH - 6;
  const cache = scene.clips[Math.round(room)] ??= new Map();
  context.fillText(clipped(context, cache, tree.labels[node], room), x + SWATCH + 6, middle + 0.5);
}

function drawBeside(context, scene, node) {
  const { tree, layout, colours } = scene;
  const x = xOf(tree, node) + CARD_WIDTH + 9, middle = yOf(layout, node) + CARD_HEIGHT / 2 + 0.5;
  context.textBaseline = "middle";
  context.textAlign = "left";
  if (tree.folded.has(node)) {
    const label = `+${tree.below[node].toLocaleString("en")}`;
    context.font = `600 11px ${FONT}`;
    const width = context.measureText(label).width + 14;
    box(context, x - 3, middle - 10, width, 19, 9);
    context.fillStyle = colours.chip;
    context.fill();
    context.strokeStyle = colours.faint;
    context.lineWidth = 1;
    context.stroke();
    context.fillStyle = colours.ink;
    context.fillText(label, x + 4, middle);
  } else if (tree.children[node].length === 0 && tree.kinds[node]) {
    const end = tree.ends[node].find((one) => one.kind === tree.kinds[node]);
    const stops = ["pruned", "parked", "cut"].includes(end.kind);
    const label = stops ? (end.why || end.reason || end.kind).replaceAll("_", " ") : end.answer === null ? "no answer" : `= ${oneLine(end.answer)}`;
    const isChosen = tree.isChosen[node] && !stops;
    context.font = `${isChosen ? "700 " : stops ? "italic " : ""}12px ${FONT}`;
    context.fillStyle = isChosen ? colours.ink : { correct: colours.good, wrong: colours.bad }[end.kind] || colours.soft;
    const cache = scene.clips[`beside ${context.font}`] ??= new Map();
    context.fillText(clipped(context, cache, isChosen ? `${label} \u2605` : label, stops ? 260 : 132), x, middle);
  }
}

function drawBlock(context, scene, node) {
  const { tree, layout, colours, scale } = scene;
  const x = xOf(tree, node), y = yOf(layout, node), least = 1.2 / scale;
  fillSwatch(context, scene, node, x, y, CARD_WIDTH, Math.max(CARD_HEIGHT, least));
  if (scene.onPath.has(node)) {
    context.strokeStyle = colours.ink;
    context.beginPath();
    context.rect(x, y, CARD_WIDTH, CARD_HEIGHT);
    strokePixels(context, scene, Math.max(1.8 * scale, 1.5));
  }
  if (scale <= 0.13 && tree.kinds[node] === "correct") {
    context.fillStyle = colours.good;
    context.fillRect(x + CARD_WIDTH + 4 / scene.across, y, 7 / scene.across, Math.max(CARD_HEIGHT, least));
  } else if (tree.kinds[node] && scale > 0.13) {
    const size = Math.min(10, ROW * scale * 0.9);
    const at = toScreen(scene, x + CARD_WIDTH, y + CARD_HEIGHT / 2), ratio = window.devicePixelRatio || 1;
    context.save();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawSign(context, colours, tree.kinds[node], at.x + size * 0.8, at.y, size);
    context.restore();
  }
}

function drawRings(context, scene, view) {
  const { tree, layout, colours, scale } = scene;
  const ring = (node, colour, width, gap) => {
    const x = xOf(tree, node), y = yOf(layout, node);
    if (layout.row[node] < 0 || y > view.bottom || y + ROW < view.top) return;
    box(context, x - gap, y - gap, CARD_WIDTH + 2 * gap, CARD_HEIGHT + 2 * gap, 6 + gap);
    context.strokeStyle = colour;
    strokePixels(context, scene, width);
  };
  for (const node of scene.hits) ring(node, colours.mark, Math.max(4 * scale, scale < 0.1 ? 1.2 : 2.5), 2);
  ring(scene.selected, colours.focus, Math.max(2.4 * scale, 2), 3.5);
}

// Without texts the columns need not shrink with the rows: an overview of many rows keeps the width of the window.
function scaleAcross(scene, width) {
  if (scene.scale >= TEXT_SCALE) return scene.scale;
  return Math.max(scene.scale, Math.min(TEXT_SCALE, (width - 2 * MARGIN) / scene.layout.width));
}

const toScreen = (scene, x, y) => ({ x: (x - scene.left) * scene.across, y: (y - scene.top) * scene.scale });

function drawScene(canvas, scene) {
  const ratio = window.devicePixelRatio || 1;
  const context = canvas.getContext("2d");
  const { scale, left, top, tree, layout } = scene;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const across = scaleAcross(scene, width);
  scene.across = across;
  context.setTransform(ratio * across, 0, 0, ratio * scale, -left * across * ratio, -top * scale * ratio);
  const view = { left: left - COLUMN, right: left + width / across, top: top - ROW, bottom: top + height / scale };
  if (ROW * scale > 1.5) { // below that, lines would be all that one sees
    drawLines(context, scene, view, false);
    drawLines(context, scene, view, true);
  }
  drawSelectedPath(context, scene, view);
  let numDrawn = 0;
  const draw = scale >= TEXT_SCALE ? drawCard : drawBlock;
  const firstRow = Math.max(0, Math.floor(view.top / ROW)), lastRow = Math.min(layout.numRows - 1, Math.ceil(view.bottom / ROW));
  for (let place = layout.rowStart[firstRow]; place < layout.rowStart[lastRow + 1]; place++) {
    const node = layout.order[place], x = xOf(tree, node);
    if (x < view.left || x > view.right) continue;
    numDrawn++;
    context.globalAlpha = scene.hits.size && !scene.hits.has(node) && !scene.onPath.has(node) ? 0.45 : 1;
    draw(context, scene, node);
    if (scale >= TEXT_SCALE) drawBeside(context, scene, node);
  }
  context.globalAlpha = 1;
  drawRings(context, scene, view);
  return numDrawn;
}
