"use strict";
// The data map in the browser. Everything that comes from the data goes into the page as text (textContent), never as
// markup, and isolated from the text around it (dir="auto"), so a right-to-left or hostile text harms nothing.
{
  const map = JSON.parse(document.getElementById("map").textContent);
  const at = (id) => document.getElementById(id);
  const OTHER = map.other, ROWS = 200;
  const TYPES = { f4: Float32Array, u1: Uint8Array, u2: Uint16Array };

  const decode = ({ dtype, base64 }) => {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new TYPES[dtype](bytes.buffer);
  };
  const values = {}; // column name -> typed array, decoded when first asked for
  const column = (name) => map.columns.find((c) => c.name === name);
  const valuesOf = (name) => (values[name] ??= decode(column(name).data));
  const number = (v) => (v === Infinity ? "never" : Number.isNaN(v) ? "–" : String(+v.toPrecision(4)));
  const worded = (name, i) => {
    const c = column(name), v = valuesOf(name)[i];
    return c.levels ? (c.levels[v]?.word ?? "–") : number(v);
  };
  const element = (tag, text, more = {}) => {
    const made = Object.assign(document.createElement(tag), more);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const x = decode(map.x.data), y = decode(map.y.data);
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;"); // plotly reads its own little markup in titles

  // --- colour -------------------------------------------------------------------------------------------------------
  // A colour name per point: plotly takes these a quarter faster than numbers with a colour scale.
  const colours = (c) => {
    const v = valuesOf(c.name), made = new Array(v.length);
    if (c.levels) {
      for (let i = 0; i < v.length; i++) made[i] = c.levels[v[i]]?.colour ?? OTHER;
      return made;
    }
    const [low, high] = c.limits, last = map.shades.length - 1, scale = last / (high - low || 1);
    for (let i = 0; i < v.length; i++) {
      made[i] = Number.isNaN(v[i]) ? OTHER : map.shades[Math.max(0, Math.min(last, Math.round((v[i] - low) * scale)))];
    }
    return made;
  };
  const legend = (c) => {
    const entry = (colour, words) => {
      const chip = element("span");
      chip.append(Object.assign(element("i"), { style: `background:${colour}` }), element("bdi", words));
      return chip;
    };
    if (!c.levels) {
      const bar = Object.assign(element("span"), { className: "scale", style: `background:linear-gradient(90deg,${map.shades})` });
      return [element("span", number(c.limits[0])), bar, element("span", number(c.limits[1]))];
    }
    const shown = c.levels.filter((l) => l.own), rest = c.levels.filter((l) => !l.own);
    const chips = shown.map((l) => entry(l.colour, `${l.word} (${l.n.toLocaleString("en")})`));
    const n = rest.reduce((sum, l) => sum + l.n, 0);
    return rest.length ? [...chips, entry(OTHER, `${rest.length} other (${n.toLocaleString("en")})`)] : chips;
  };
  const paint = () => {
    const c = column(at("colour").value);
    at("says").textContent = c.says;
    at("legend").replaceChildren(...legend(c));
    list();
    return Plotly.restyle(plot, { "marker.color": [colours(c)] }, [0]);
  };

  // --- region boxes -------------------------------------------------------------------------------------------------
  const narrow = () => window.innerWidth < 640;
  const boxes = () => map.boxes.map((b) => ({
    type: "rect", x0: b.x0, x1: b.x1, y0: b.y0, y1: b.y1, line: { color: b.colour, width: 2 },
  }));
  const names = () => map.boxes.map((b) => ({
    ...b.at, text: plain(b.words), showarrow: false, bgcolor: "#ffffffcc", borderpad: 1,
    font: { size: narrow() ? 11 : 13, color: "#222", weight: 600 },
  }));
  const frame = () => (at("boxes").checked ? { shapes: boxes(), annotations: names() } : { shapes: [], annotations: [] });

  // --- hover --------------------------------------------------------------------------------------------------------
  const shownColumns = () => [...new Set([map.y.name, map.x.name, at("colour").value])];
  const tip = (i, event) => {
    const facts = element("dl"), box = at("tip");
    const names = shownColumns().filter((name) => name !== "label");
    const said = [["id", map.ids[i]], ["label", worded("label", i)], ...names.map((name) => [name, worded(name, i)])];
    for (const [name, value] of said) facts.append(element("dt", name), element("dd", value, { dir: "auto" }));
    box.replaceChildren(element("p", map.texts[i], { dir: "auto" }), facts);
    box.hidden = false;
    const { offsetWidth: w, offsetHeight: h } = box, { clientX = 0, clientY = 0 } = event ?? {};
    box.style.left = `${clientX + 16 + w < window.innerWidth ? clientX + 16 : Math.max(4, clientX - w - 16)}px`;
    box.style.top = `${clientY + 16 + h < window.innerHeight ? clientY + 16 : Math.max(4, clientY - h - 16)}px`;
  };

  // A finger does not hover. plotly's event of a tap has no place: the place is the finger's.
  let finger = null;
  const press = (event) => {
    finger = event.pointerType === "touch" ? event : null;
    at("tip").hidden = true;
  };

  // --- selection ----------------------------------------------------------------------------------------------------
  let chosen = [];
  const list = () => {
    const names = shownColumns(), table = at("rows"), some = chosen.length > 0;
    table.hidden = at("save").hidden = !some;
    const first = chosen.length > ROWS ? `the first ${ROWS}, ` : "";
    at("chosen").textContent = some
      ? `${chosen.length.toLocaleString("en")} selected (${first}lowest ${map.y.name} first)`
      : "Drag a box or a lasso over the map to list examples here.";
    const heads = ["id", "label", "text", ...names.filter((name) => name !== "label")];
    table.tHead.rows[0].replaceChildren(...heads.map((name) => element("th", name)));
    table.tBodies[0].replaceChildren(...chosen.slice(0, ROWS).map((i) => {
      const row = element("tr");
      for (const name of heads) {
        if (name === "text") row.append(element("td", map.texts[i], { dir: "auto", className: "text" }));
        else {
          const cell = element("td", name === "id" ? map.ids[i] : worded(name, i), { dir: "auto", className: "number" });
          cell.dataset.name = name;
          row.append(cell);
        }
      }
      return row;
    }));
  };
  const choose = (points) => {
    chosen = points.map((p) => p.pointNumber).sort((a, b) => y[a] - y[b]);
    list();
  };
  const save = () => {
    const link = element("a", "", { download: "ids.txt" });
    link.href = URL.createObjectURL(new Blob([chosen.map((i) => map.ids[i]).join("\n") + "\n"], { type: "text/plain" }));
    link.click();
    URL.revokeObjectURL(link.href);
  };

  // --- the page -----------------------------------------------------------------------------------------------------
  for (const c of map.columns) at("colour").append(element("option", c.name, { value: c.name }));
  at("colour").value = map.colour;
  const plot = at("plot"), first = column(map.colour), small = narrow(), many = map.density || map.ids.length > 20000;
  const axis = (words) => ({ title: { text: plain(words), font: { size: small ? 12 : 14 }, standoff: 12 }, zeroline: false, gridcolor: "#eee", linecolor: "#999" });
  const trace = {
    type: "scattergl", mode: "markers", x, y, hoverinfo: "none",
    marker: { color: colours(first), size: many ? 4 : 6, opacity: many ? 0.6 : 0.8 },
    unselected: { marker: { opacity: 0.08 } },
  };
  // Of very many examples the points are a choice: all of them are the grey cells behind, on a logarithmic scale.
  const density = (d) => {
    const v = decode(d.data), z = [], ticks = [0, 1, 2, 3, 4, 5, 6].filter((t) => t <= d.most);
    for (let i = 0; i < v.length; i += d.across) z.push(Array.from(v.subarray(i, i + d.across)));
    return {
      type: "heatmap", z, x0: d.x0, dx: d.dx, y0: d.y0, dy: d.dy, zmin: -0.5, zmax: d.most, hoverinfo: "skip",
      colorscale: [[0, "#f4f4f4"], [1, "#6e6e6e"]], showscale: !small,
      colorbar: { title: { text: "examples<br>per cell" }, tickvals: ticks, ticktext: ticks.map((t) => (10 ** t).toLocaleString("en")), thickness: 12, len: 0.5, outlinewidth: 0 },
    };
  };
  const layout = {
    margin: { l: small ? 48 : 64, r: 8, t: 34, b: 56 }, hovermode: "closest", hoverdistance: 8, dragmode: "select",
    font: { family: "system-ui, DejaVu Sans, Verdana, Arial, sans-serif", size: 12, color: "#222" },
    xaxis: axis(map.x.words), yaxis: axis(map.y.words), modebar: { color: "#666", activecolor: "#111", bgcolor: "#fff" }, ...frame(), showlegend: false,
  };
  const config = {
    plotGlPixelRatio: many ? Math.min(2, Math.max(1, window.devicePixelRatio)) : 2, // otherwise every screen draws at 2
    responsive: true, displaylogo: false, displayModeBar: true, scrollZoom: true,
    modeBarButtons: [["select2d", "lasso2d"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };
  at("count").textContent = map.note;
  at("says").textContent = first.says;
  at("legend").replaceChildren(...legend(first));
  list();
  Plotly.newPlot(plot, map.density ? [trace, density(map.density)] : [trace], layout, config).then(() => {
    plot.on("plotly_hover", ({ points, event }) => tip(points[0].pointNumber, event));
    plot.on("plotly_unhover", () => { at("tip").hidden = true; });
    plot.on("plotly_selected", (event) => event && choose(event.points)); // a click sends none and keeps what is chosen
    plot.on("plotly_deselect", () => choose([]));
    plot.addEventListener("pointerdown", press, true);
    plot.on("plotly_click", ({ points, event }) => tip(points[0].pointNumber, finger ?? event));
    at("colour").addEventListener("change", paint);
    at("boxes").addEventListener("change", () => Plotly.relayout(plot, frame()));
    at("save").addEventListener("click", save);
    document.body.dataset.drawn = "yes"; // for tests and measurements
  });
}
