// Places: a row per trace, a column per step; a node's first child goes on in its row. Only unfolded nodes have a place.

const COLUMN = 208, ROW = 40, CARD_WIDTH = 176, CARD_HEIGHT = 28;

function layOut(tree) {
  const order = [], rowStart = [], row = new Int32Array(tree.size).fill(-1);
  const lastMain = new Int32Array(tree.size).fill(-1), lastFork = new Int32Array(tree.size).fill(-1);
  const stack = [0];
  let depth = 0;
  while (stack.length) {
    const node = stack.pop();
    const parent = tree.nodes.parent[node];
    const goesOn = node > 0 && tree.children[parent][0] === node;
    if (!goesOn) rowStart.push(order.length);
    row[node] = rowStart.length - 1;
    if (node > 0 && !goesOn) (tree.isMain[node] ? lastMain : lastFork)[parent] = row[node];
    order.push(node);
    depth = Math.max(depth, tree.depth[node]);
    if (!tree.folded.has(node)) {
      const siblings = tree.children[node];
      for (let place = siblings.length - 1; place >= 0; place--) stack.push(siblings[place]);
    }
  }
  const numRows = rowStart.length;
  rowStart.push(order.length);
  return {
    order, row, rowStart, numRows, lastMain, lastFork,
    width: depth * COLUMN + CARD_WIDTH + 150, height: (numRows - 1) * ROW + CARD_HEIGHT, // 150: answers beside leaves
  };
}

const xOf = (tree, node) => tree.depth[node] * COLUMN;
const yOf = (layout, node) => layout.row[node] * ROW;

// The node of a row at a depth, or the one nearest to it.
function nearest(tree, layout, row, depth) {
  if (row < 0 || row >= layout.numRows) return null;
  const first = layout.rowStart[row], last = layout.rowStart[row + 1] - 1;
  const place = first + depth - tree.depth[layout.order[first]];
  return layout.order[Math.min(Math.max(place, first), last)];
}

// The node under a point of the drawing, or null.
function nodeAt(tree, layout, x, y) {
  const row = Math.floor(y / ROW), depth = Math.floor(x / COLUMN);
  const node = nearest(tree, layout, row, depth);
  if (node === null || tree.depth[node] !== depth) return null;
  return x - depth * COLUMN <= CARD_WIDTH && y - row * ROW <= CARD_HEIGHT ? node : null;
}
