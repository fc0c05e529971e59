// The data map beside the card: a few thousand points on a canvas. A rectangle drawn over it becomes the queue's box.
"use strict";

(() => {
  const canvas = document.getElementById("map");
  if (!canvas) return;
  const pen = canvas.getContext("2d");
  const EDGE = { left: 46, right: 8, top: 8, bottom: 46 };
  const CORNERS = ["x0", "x1", "y0", "y1"];
  let data = null, frame = null, brush = null;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const wide = () => canvas.width - EDGE.left - EDGE.right;
  const high = () => canvas.height - EDGE.top - EDGE.bottom;
  const across = (x) => EDGE.left + ((x - frame.x0) / (frame.x1 - frame.x0)) * wide();
  const up = (y) => EDGE.top + (1 - (y - frame.y0) / (frame.y1 - frame.y0)) * high();
  const field = (name) => document.querySelector(`#box [name=${name}]`);

  fetch("points").then((answer) => answer.json()).then((points) => {
    data = points;
    frame = { x0: Math.min(...data.x), x1: Math.max(...data.x), y0: Math.min(...data.y), y1: Math.max(...data.y) };
    for (const axis of ["x", "y"]) { // some air, and no division by nothing
      const air = 0.03 * (frame[axis + "1"] - frame[axis + "0"]) || 0.5;
      frame[axis + "0"] -= air; frame[axis + "1"] += air;
    }
    const some = data.x.length < data.n ? `${data.x.length.toLocaleString("en")} of ` : "";
    document.getElementById("map-note").textContent = `${some}${data.n.toLocaleString("en")} examples; draw a box to choose`;
    draw();
    canvas.dataset.drawn = "yes";
  });

  function draw() {
    if (!data) return;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.font = "27px system-ui, sans-serif"; // the canvas is shown at half its size
    axes();
    const colours = Object.fromEntries(["easy", "ambiguous", "hard", "none"].map((name) => [name, style(name)]));
    pen.globalAlpha = data.x.length > 1000 ? 0.55 : 0.8;
    const size = data.x.length > 1000 ? 5 : 8;
    for (let i = 0; i < data.x.length; i++) {
      pen.fillStyle = colours[data.region[i]];
      pen.fillRect(across(data.x[i]) - size / 2, up(data.y[i]) - size / 2, size, size);
    }
    pen.globalAlpha = 1;
    chosen();
    current();
  }

  function axes() {
    pen.strokeStyle = style("line"); pen.fillStyle = style("soft"); pen.lineWidth = 1.5;
    pen.strokeRect(EDGE.left, EDGE.top, wide(), high());
    along(data.axes[0], data.x, EDGE.left, canvas.height - 11, wide());
    pen.save(); pen.translate(30, EDGE.top + high()); pen.rotate(-Math.PI / 2);
    along(data.axes[1], data.y, 0, 0, high());
    pen.restore();
  }

  function along(name, values, left, line, length) { // the name of an axis between the least and the greatest value
    const short = (value) => String(Number(value.toPrecision(2))).replace("-", "−");
    const ends = [[short(Math.min(...values)), 0, "left"], [short(Math.max(...values)), 1, "right"]];
    for (const [words, place, align] of [...ends, [name + " →", 0.5, "center"]]) {
      pen.textAlign = align;
      pen.fillText(words, left + place * length, line);
    }
  }

  function chosen() { // the box of the filters, or the one that is being drawn
    const corners = brush ?? CORNERS.map((name) => field(name)?.value).map((v) => (v ? Number(v) : NaN));
    const [x0, x1, y0, y1] = Array.isArray(corners) ? corners : [];
    if ([x0, x1, y0, y1].some((v) => !Number.isFinite(v))) return;
    pen.strokeStyle = style("ink"); pen.lineWidth = 2.5; pen.setLineDash([8, 5]);
    pen.strokeRect(across(x0), up(y1), across(x1) - across(x0), up(y0) - up(y1));
    pen.setLineDash([]);
  }

  function current() {
    const card = document.getElementById("card");
    if (!card || card.dataset.x === undefined) return;
    const x = across(Number(card.dataset.x)), y = up(Number(card.dataset.y));
    pen.beginPath(); pen.arc(x, y, 11, 0, 2 * Math.PI);
    pen.lineWidth = 6; pen.strokeStyle = style("paper"); pen.stroke();
    pen.lineWidth = 3; pen.strokeStyle = style("ink"); pen.stroke();
  }

  const limit = (value, low, highest) => Math.min(highest, Math.max(low, value));
  function at(event) { // in the units of the scores
    const area = canvas.getBoundingClientRect();
    const px = limit((event.clientX - area.left) * (canvas.width / area.width), EDGE.left, EDGE.left + wide());
    const py = limit((event.clientY - area.top) * (canvas.height / area.height), EDGE.top, EDGE.top + high());
    return [frame.x0 + ((px - EDGE.left) / wide()) * (frame.x1 - frame.x0),
            frame.y0 + (1 - (py - EDGE.top) / high()) * (frame.y1 - frame.y0)];
  }
  let start = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!data) return;
    canvas.setPointerCapture(event.pointerId);
    start = at(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = at(event);
    brush = [Math.min(x, start[0]), Math.max(x, start[0]), Math.min(y, start[1]), Math.max(y, start[1])];
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    const values = brush ?? ["", "", "", ""]; // a click without a box takes the box away
    start = brush = null;
    const before = CORNERS.map((name) => field(name).value).join();
    CORNERS.forEach((name, i) => { field(name).value = values[i] === "" ? "" : Number(values[i].toPrecision(6)); });
    if (CORNERS.map((name) => field(name).value).join() !== before) document.getElementById("filters").requestSubmit();
    draw();
  });
  canvas.addEventListener("pointercancel", () => { start = brush = null; draw(); });
  document.addEventListener("htmx:afterSwap", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
