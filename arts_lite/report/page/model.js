// A tree as arrays, read from the page's data. Node 0 is the root; parents stand before their children.

const STATES = {
  correct: "right answer", wrong: "wrong answer", ended: "complete, not graded", cut: "cut by a budget", parked: "parked",
  pruned: "pruned",
};
const RANK = ["correct", "wrong", "ended", "pruned", "parked", "cut"]; // which of several ends a node shows
const HIDDEN_CHARACTERS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

const visible = (text) => text.replace(HIDDEN_CHARACTERS, "\ufffd");
const LONGEST = 200; // characters of an answer or a reason that is shown; of a step's text 50 times as many

function shortened(text, longest = LONGEST) {
  if (text.length <= longest) return text;
  return `${text.slice(0, longest).replace(/[\ud800-\udbff]$/, "")}\u2026 (${(text.length - longest).toLocaleString("en")} more characters)`;
}

const oneLine = (text) => visible(text).replace(/\s+/g, " ").trim();

function shown(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "not known";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (Math.abs(value) < 5e-4) return "0";
  return Math.abs(value) >= 0.001 && Math.abs(value) < 1e5 ? String(+value.toPrecision(3)) : value.toExponential(1);
}

function endOf(traces, index) {
  const why = traces.why[index];
  let kind = traces.state[index];
  if (kind === "ended" && traces.correct[index] !== null) kind = traces.correct[index] ? "correct" : "wrong";
  if (kind !== "ended" && why.startsWith("parked")) kind = "parked";
  return {
    trace: index, kind, why: oneLine(why), reason: traces.reason[index] || "", answer: traces.answer[index],
    score: traces.score[index], reward: traces.reward[index], parent: traces.parent[index], shared: traces.num_tokens_shared[index],
  };
}

function makeTree(plain) {
  const { nodes, traces } = plain;
  const size = nodes.parent.length;
  const tree = {
    plain, size, nodes, depth: new Int32Array(size), below: new Int32Array(size), isMain: new Uint8Array(size), prefix: new Float64Array(size),
    children: Array.from({ length: size }, () => []), ends: Array.from({ length: size }, () => []), folded: new Set(),
  };
  for (let node = 1; node < size; node++) {
    tree.depth[node] = tree.depth[nodes.parent[node]] + 1;
    tree.prefix[node] = tree.prefix[nodes.parent[node]] + nodes.log_pf_model[node];
  }
  for (let node = size - 1; node > 0; node--) tree.below[nodes.parent[node]] += tree.below[node] + 1;
  traces.node.forEach((node, index) => tree.ends[node].push(endOf(traces, index)));
  traces.node.forEach((end, index) => {
    if (traces.parent[index] !== null) return;
    for (let node = end; node !== null && !tree.isMain[node]; node = nodes.parent[node]) tree.isMain[node] = 1;
  });
  for (let node = 1; node < size; node++) tree.children[nodes.parent[node]].push(node);
  for (const siblings of tree.children) siblings.sort((a, b) => tree.isMain[b] - tree.isMain[a] || a - b);
  tree.labels = nodes.text.map((text, node) => (node ? oneLine(text) : oneLine(plain.question)) || "(blank)");
  tree.kinds = tree.ends.map((ends) => RANK.find((kind) => ends.some((end) => end.kind === kind)) || "");
  tree.answers = tree.ends.map((ends) => ends.find((end) => end.answer !== null)?.answer ?? null);
  tree.isChosen = tree.ends.map(
    (ends) => plain.answer !== null && ends.some((end) => end.answer === plain.answer && !["pruned", "parked"].includes(end.kind)),
  );
  return tree;
}

// What can be shown as colour: name, one value per node (NaN: not known), and how to say it.
function measuresOf(tree) {
  const { nodes } = tree;
  const values = (list) => Float64Array.from(list, (value) => (value === null ? NaN : value));
  const steps = values(nodes.log_pf_model);
  steps[0] = NaN;
  const draws = values(nodes.num_draws).map((value) => Math.log2(Math.max(1, value)));
  const all = [
    { id: "log_flow", name: "log-flow", title: "Log-flow of the prefix", values: values(nodes.log_flow) },
    { id: "log_pf", name: "step log-prob", title: "Log-prob of the step (model)", values: steps },
    { id: "log_prefix", name: "prefix log-prob", title: "Log-prob of the prefix (model)", values: tree.prefix },
    { id: "draws", name: "draws", title: "Draws of the step (log2)", values: draws },
  ];
  return all.filter((measure) => measure.id !== "log_flow" || measure.values.some((value) => !Number.isNaN(value)));
}

// Ends of the colour scale: all values of a small tree, the middle 96 % of a large one.
function rangeOf(values) {
  const known = values.filter((value) => !Number.isNaN(value)).sort();
  if (known.length === 0) return { low: 0, high: 1, isCut: false };
  const cut = known.length > 50 ? Math.floor(known.length * 0.02) : 0;
  let [low, high] = [known[cut], known[known.length - 1 - cut]];
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  return { low, high, isCut: cut > 0 };
}

function pathTo(tree, node) {
  const path = [];
  for (let at = node; at !== null; at = tree.nodes.parent[at]) path.push(at);
  return path.reverse();
}

function matches(tree, query) {
  const wanted = query.trim().toLowerCase();
  if (!wanted) return [];
  const found = [];
  for (let node = 0; node < tree.size; node++) {
    const texts = [tree.labels[node], ...tree.ends[node].flatMap((end) => [oneLine(end.answer ?? ""), end.why])];
    if (texts.some((text) => text.toLowerCase().includes(wanted))) found.push(node);
  }
  return found;
}
