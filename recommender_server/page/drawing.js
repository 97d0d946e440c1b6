// What is drawn: covers made from titles, line charts, bars. Everything is built as nodes, never as text of HTML.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, members = {}, ...children) {
  const node = document.createElement(name);
  for (const [member, value] of Object.entries(members)) {
    if (member.startsWith("on")) node.addEventListener(member.slice(2), value);
    else if (value !== undefined && value !== null) node.setAttribute(member, value);
  }
  node.append(...children);
  return node;
}

function drawn(name, members, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [member, value] of Object.entries(members)) node.setAttribute(member, value);
  node.append(...children);
  return node;
}

// The same title always has the same cover.
export function cover(title) {
  let hash = 2166136261;
  for (const sign of title) hash = Math.imul(hash ^ sign.codePointAt(0), 16777619) >>> 0;
  const hue = hash % 360;
  const initials = title.split(/\s+/).filter((word) => /^[\p{L}\p{N}]/u.test(word) && !/^(the|an?)$/i.test(word)).slice(0, 2).map((word) => word[0].toUpperCase()).join("");
  return drawn(
    "svg",
    { viewBox: "0 0 60 78", class: "cover", "aria-hidden": "true" },
    drawn("rect", { width: 60, height: 78, fill: `hsl(${hue} 45% 32%)` }),
    drawn("circle", { cx: (hash >>> 9) % 60, cy: (hash >>> 15) % 78, r: 14 + ((hash >>> 4) % 18), fill: `hsl(${(hue + 40) % 360} 55% 45%)` }),
    drawn("text", { x: 30, y: 47, "text-anchor": "middle", fill: "#fff", "font-size": 24, "font-weight": 700 }, initials),
  );
}

// series: [{name, values}], equally spaced values, the newest last.
export function lines(figure, label, series, format) {
  const width = 360, height = 140, left = 38, bottom = 6;
  const all = series.flatMap((one) => one.values).filter((value) => Number.isFinite(value));
  const most = Math.max(...all, 1e-9) * 1.1;
  const long = Math.max(...series.map((one) => one.values.length), 2);
  const x = (place, count) => left + ((long - count + place) / (long - 1)) * (width - left);
  const y = (value) => (1 - value / most) * (height - bottom - 8) + 8;
  const marks = [0, most / 2, most].map((value) =>
    drawn("g", {},
      drawn("line", { class: "grid", x1: left, x2: width, y1: y(value), y2: y(value) }),
      drawn("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, format(value))));
  const paths = series.map((one, place) =>
    drawn("polyline", {
      points: one.values.map((value, at) => `${x(at, one.values.length).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
      fill: "none", stroke: `var(--c${place})`, "stroke-width": place ? 1.5 : 2.5,
    }));
  const newest = series.map((one) => `${one.name} ${format(one.values.at(-1) ?? 0)}`);
  const legend = element("div", { class: "legend" });
  newest.forEach((text, place) => {
    const swatch = element("i");
    swatch.style.background = `var(--c${place})`;
    legend.append(element("span", {}, swatch, text));
  });
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label}: ${newest.join(", ")}` }, ...marks, ...paths);
  figure.replaceChildren(picture, legend);
}

export function bars(figure, rows) {
  const most = Math.max(...rows.map(([, value]) => value), 1);
  figure.replaceChildren(...rows.map(([name, value]) => {
    const bar = element("i");
    bar.style.width = `${(100 * value) / most}%`;
    return element("div", { class: "bar" }, element("span", {}, name), element("div", {}, bar), element("span", {}, String(value)));
  }));
}
