// The texts around the drawing. Everything that comes from the data goes through textContent.

const LONGEST_PATH = 60; // steps in the panel

function make(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function facts(pairs) {
  const list = make("dl");
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(make("dt", name), make("dd", shortened(visible(String(value)))));
  }
  return list;
}

function endItem(end) {
  const item = make("li", undefined, end.kind);
  const answer = end.answer === null ? "no answer" : `answer ${shortened(visible(end.answer))}`;
  item.append(make("div", `${end.parent === null ? "Main trace" : "Fork"} ${end.trace}: ${answer}, ${STATES[end.kind]}`));
  const more = [];
  if (end.why) more.push(`why: ${shortened(end.why)}`);
  if (end.reason) more.push(`stopped by ${end.reason.replaceAll("_", " ")}`);
  if (end.score !== null) more.push(`score ${shown(end.score)}`);
  if (end.reward !== null) more.push(`reward ${shown(end.reward)}`);
  if (end.parent !== null) more.push(`forked from trace ${end.parent} after ${end.shared} tokens`);
  if (more.length) item.append(make("small", more.join("; ")));
  return item;
}

function nodeFacts(tree, node) {
  const { nodes } = tree;
  return [
    ["log-flow", nodes.log_flow[node] === null ? null : shown(nodes.log_flow[node])],
    ["log-prob, model", shown(nodes.log_pf_model[node])],
    ["log-prob, sampling", shown(nodes.log_pf_sampling[node])],
    ["prefix log-prob", shown(tree.prefix[node])],
    ["draws", shown(nodes.num_draws[node])],
    ["tokens", shown(nodes.num_tokens[node])],
    ["steps below", tree.below[node] ? shown(tree.below[node]) : null],
  ];
}

function originFacts(plain) {
  return [
    ["chosen answer", plain.answer === null ? "none" : plain.answer],
    ["true answer", plain.gold],
    ["stopped by", plain.stopped_by],
    ["proposer", plain.model],
    ["verifier", plain.verifier],
    ...Object.entries(plain.settings),
    ["prompt tokens", shown(plain.num_prompt_tokens)],
    ["seed", String(plain.seed)],
  ];
}

const textOf = (tree, node) => visible(node === 0 ? tree.plain.question : tree.nodes.text[node]).trimEnd();

function endWords(end) {
  const why = end.why ? ` (${shortened(end.why)})` : "";
  return `${STATES[end.kind]}${end.answer === null ? "" : `: ${shortened(oneLine(end.answer))}`}${why}`;
}

function fillPanel(panel, tree, node, select) {
  const title = node === 0 ? "The question" : `Step ${tree.depth[node]}, ${tree.isMain[node] ? "main trace" : "fork"}`;
  const text = make("div", shortened(textOf(tree, node), 50 * LONGEST) || "(blank)", "text step");
  panel.replaceChildren(make("h2", title), text, facts(node === 0 ? originFacts(tree.plain) : nodeFacts(tree, node)));
  if (tree.ends[node].length) {
    const list = make("ul", undefined, "ends");
    for (const end of tree.ends[node].slice(0, 50)) list.append(endItem(end));
    if (tree.ends[node].length > 50) list.append(make("li", `and ${tree.ends[node].length - 50} more`));
    panel.append(make("h3", tree.ends[node].length === 1 ? "Ends here" : `${tree.ends[node].length} traces end here`), list);
  }
  if (node > 0) {
    const path = make("ol", undefined, "path");
    const all = pathTo(tree, node);
    const kept = all.length <= LONGEST_PATH ? all : [0, ...all.slice(1 - LONGEST_PATH)];
    for (const above of kept) {
      const item = make("li"), button = make("button");
      button.type = "button";
      button.append(make("b", String(tree.depth[above])), make("span", tree.labels[above].slice(0, 300)));
      if (above === node) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => select(above));
      item.append(button);
      path.append(item);
    }
    panel.append(make("h3", "From the question to here"), path);
  }
  panel.scrollTop = 0;
}

function fillTip(tip, tree, node) {
  const { nodes } = tree;
  const parts = [];
  if (nodes.log_flow[node] !== null) parts.push(`log-flow ${shown(nodes.log_flow[node])}`);
  if (node > 0) {
    parts.push(`log-prob ${shown(nodes.log_pf_model[node])} (model), ${shown(nodes.log_pf_sampling[node])} (sampling)`);
    parts.push(`${shown(nodes.num_draws[node])} ${nodes.num_draws[node] === 1 ? "draw" : "draws"}`);
  }
  parts.push(...tree.ends[node].slice(0, 3).map(endWords));
  tip.replaceChildren(make("div", shortened(textOf(tree, node).trimStart(), 3 * LONGEST), "text"), make("div", parts.join(" \u00b7 "), "facts"));
}

// What a screen reader says of a step.
function spoken(tree, node, measure) {
  const parts = [shortened(tree.labels[node])];
  if (!Number.isNaN(measure.values[node])) parts.push(`${measure.name} ${shown(measure.values[node])}`);
  parts.push(...tree.ends[node].slice(0, 3).map(endWords));
  if (node > 0 && !tree.isMain[node]) parts.push("fork");
  return parts.join("; ");
}

function nameItem(item, tree, node, measure) {
  const siblings = node === 0 ? [0] : tree.children[tree.nodes.parent[node]];
  item.textContent = spoken(tree, node, measure);
  item.setAttribute("aria-level", tree.depth[node] + 1);
  item.setAttribute("aria-setsize", siblings.length);
  item.setAttribute("aria-posinset", siblings.indexOf(node) + 1);
  if (tree.children[node].length) item.setAttribute("aria-expanded", String(!tree.folded.has(node)));
  else item.removeAttribute("aria-expanded");
}

function summaryOf(tree) {
  const { correct, state } = tree.plain.traces;
  const num = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const parts = [num(tree.size, "node"), num(state.length, "trace")];
  const graded = correct.filter((verdict) => verdict !== null).length;
  if (graded) parts.push(`${correct.filter(Boolean).length.toLocaleString("en")} of ${graded.toLocaleString("en")} right`);
  for (const kind of ["pruned", "parked", "cut"]) {
    const count = tree.ends.reduce((sum, ends) => sum + ends.filter((end) => end.kind === kind).length, 0);
    if (count) parts.push(`${count.toLocaleString("en")} ${kind}`);
  }
  if (tree.plain.answer !== null) parts.push(`chosen answer ${shortened(oneLine(tree.plain.answer))}`);
  return parts.join(" \u00b7 ");
}
