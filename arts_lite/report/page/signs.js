// Colours and signs: every sign has a shape of its own, the colour scale rises in brightness.

const NUM_SHADES = 256;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  const colours = {};
  const names = ["page", "card", "card-line", "ink", "soft", "faint", "main", "fork", "good", "bad", "stopped", "mark", "focus", "raised", "chip"];
  for (const name of names) colours[name] = read(name);
  const stops = read("ramp").split(/\s+/).map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  colours.ramp = Array.from({ length: NUM_SHADES }, (_, shade) => mixed(stops, shade / (NUM_SHADES - 1)));
  return colours;
}

function mixed(stops, share) {
  const at = share * (stops.length - 1);
  const place = Math.min(Math.floor(at), stops.length - 2);
  const parts = stops[place].map((value, part) => Math.round(value + (stops[place + 1][part] - value) * (at - place)));
  return `rgb(${parts.join(" ")})`;
}

const rampColour = (ramp, share) => ramp[Math.round(Math.min(Math.max(share, 0), 1) * (ramp.length - 1))];

// The sign of how traces ended: its shape tells as much as its colour.
function drawSign(context, colours, kind, x, y, size) {
  const colour = { correct: colours.good, wrong: colours.bad }[kind] || colours.stopped;
  const half = size / 2;
  context.save();
  context.translate(x, y);
  context.lineWidth = Math.max(1.6, size / 8);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = colour;
  context.beginPath();
  if (kind === "correct") {
    context.arc(0, 0, half, 0, 7);
    context.fill();
    context.strokeStyle = colours.card;
    context.beginPath();
    context.moveTo(-half * 0.45, 0.02 * size);
    context.lineTo(-half * 0.1, half * 0.38);
    context.lineTo(half * 0.48, -half * 0.36);
  } else if (kind === "wrong") {
    const arm = half * 0.62;
    context.moveTo(-arm, -arm);
    context.lineTo(arm, arm);
    context.moveTo(arm, -arm);
    context.lineTo(-arm, arm);
  } else if (kind === "ended") {
    context.arc(0, 0, half * 0.72, 0, 7);
  } else if (kind === "pruned") {
    context.arc(0, 0, half * 0.8, 0, 7);
    context.moveTo(-half * 0.55, half * 0.55);
    context.lineTo(half * 0.55, -half * 0.55);
  } else if (kind === "parked") {
    context.moveTo(-half * 0.3, -half * 0.6);
    context.lineTo(-half * 0.3, half * 0.6);
    context.moveTo(half * 0.3, -half * 0.6);
    context.lineTo(half * 0.3, half * 0.6);
  } else if (kind === "cut") {
    context.setLineDash([size / 6, size / 5]);
    context.moveTo(0, -half * 0.8);
    context.lineTo(0, half * 0.8);
  }
  context.stroke();
  context.restore();
}
