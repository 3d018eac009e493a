// The page is complete without this. It filters, zooms, and shows what is under the pointer. What it knows of a record
// is in the table; what it moves says which records it lies between (data-a, data-b) or belongs to (data-i).
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const picture = byId("picture");
  if (!picture) return;
  const scroller = byId("scroller");
  const controls = byId("controls");
  const detail = byId("detail");
  const all = (selector, within = picture) => [...within.querySelectorAll(selector)];

  const ROW = 14, VERDICT = 22, PAUSE = 1e6, LINE = 11, HEAD = 26;
  const HEIGHTS = [2, 4, 7, 10, 14, 18, 24];
  const tableRows = all("tr", byId("records"));
  const times = tableRows.map((row) => Number(row.dataset.us));
  const kinds = tableRows.map((row) => row.dataset.kind);
  const texts = tableRows.map((row) => row.textContent.toLowerCase());
  const count = times.length;
  const marks = all("g.row");
  const between = all("[data-a]").map((element) => ({
    element, from: Number(element.dataset.a), to: Number(element.dataset.b),
  }));
  const violation = byId("violation");
  const broken = violation ? Number(violation.dataset.v) : -1;
  const words = Number(picture.querySelector(".words").getAttribute("x"));
  const axis = Math.min(...all(".axis").map((line) => Number(line.getAttribute("x1"))));
  const fullWidth = Number(picture.dataset.width);
  // What says most keeps its words where there is no room for all.
  const urgency = ["faults", "status", "app", "gateways", "handshake", "sockets", "requests", "events"];
  const order = times.map((_, index) => index)
    .sort((a, b) => (b === broken) - (a === broken) || urgency.indexOf(kinds[a]) - urgency.indexOf(kinds[b]) || a - b);

  let shown = new Array(count).fill(true);
  let centres = [];
  let zoom = HEIGHTS.indexOf(ROW);
  let chosen = -1;
  // The names of spans that were placed last, in the order of time.
  let labels = [];

  const isTrueTime = () => controls.elements.scale.value === "time";
  const pauseHeight = (pause) => 12 + 3 * Math.floor(Math.log2(Math.max(1, Math.floor(pause / PAUSE))));
  const length = (us) => {
    const seconds = Math.floor(us / 1e6);
    if (seconds < 60) return `${seconds}.${Math.floor(us / 1e5) % 10} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  };

  // Both give the middle of every record, shown or not, then the end; and the pauses that were left out.
  function byRecord() {
    const height = HEIGHTS[zoom];
    const middles = [], pauses = [];
    let y = 4, before = -1;
    for (let index = 0; index < count; index += 1) {
      if (!shown[index]) { middles.push(y); continue; }
      const pause = before < 0 ? 0 : times[index] - before;
      before = times[index];
      if (pause >= PAUSE) {
        y += pauseHeight(pause);
        pauses.push([index, pause]);
      }
      middles.push(y + height / 2);
      y += height;
      if (index === broken) y += VERDICT;
    }
    middles.push(y + height / 2);
    return { middles, pauses, height: y + height + 4 };
  }
  function byTime() {
    const first = times[0], span = Math.max(1, times[count - 1] - first);
    const scale = 600 * 1.8 ** zoom / span * (1 + count / 4000);
    const middles = times.map((at) => 12 + (at - first) * scale);
    const end = 12 + span * scale + (broken >= 0 ? VERDICT : 0) + 10;
    return { middles: [...middles, end], pauses: [], height: end + 10 };
  }

  function move({ element, from, to }) {
    const a = centres[from], b = centres[to];
    if (element.localName === "line") {
      element.setAttribute("y1", a);
      element.setAttribute("y2", b);
      const isOff = element.classList.contains("arrow") && !(shown[from] && shown[to]);
      element.classList.toggle("off", isOff);
    } else if (element.localName === "rect") {
      const isShort = from === to;
      element.setAttribute("y", isShort ? a - ROW / 2 : a);
      element.setAttribute("height", isShort ? ROW : Math.max(b - a, 1));
      element.classList.toggle("off", element.classList.contains("waiting") && !shown[from]);
    } else {
      element.setAttribute("y", a + Number(element.dataset.y));
      const y = a + Number(element.dataset.y), x = Number(element.getAttribute("x"));
      const isCovered = labels.some((other) => Math.abs(other.x - x) < 40 && Math.abs(other.y - y) < LINE - 1);
      const isOff = isCovered || (from !== to && b - a < LINE && element.classList.contains("state"));
      element.classList.toggle("off", isOff);
      if (!isOff) labels.push({ x, y });
      if (labels.length > 8) labels.shift();
    }
  }

  function drawPauses(pauses) {
    const svg = (name, attributes, text) => {
      const element = document.createElementNS(picture.namespaceURI, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      if (text) element.textContent = text;
      return element;
    };
    const left = 78, right = words - 8;
    byId("pauses").replaceChildren(...pauses.map(([index, pause]) => {
      const y = centres[index] - HEIGHTS[zoom] / 2 - Math.floor(pauseHeight(pause) / 2);
      const mark = svg("g", { class: "pause", "data-i": index, transform: `translate(0,${y})` });
      mark.append(
        svg("rect", { x: left, y: -2, width: right - left, height: 4 }),
        svg("path", { d: `M${left},-2 H${right} M${left},2 H${right}` }),
        svg("text", { x: left - 22, y: 4 }, length(pause)),
      );
      return mark;
    }));
  }

  // Words that would lie on others are left out, the least urgent first.
  function thin(pauses) {
    const taken = new Map();
    const isFree = (y) => [-1, 0, 1].every((near) => {
      const other = taken.get(Math.floor(y / LINE) + near);
      return other === undefined || Math.abs(other - y) >= LINE;
    });
    const take = (y) => taken.set(Math.floor(y / LINE), y);
    if (HEIGHTS[zoom] < LINE) for (const [index, pause] of pauses) take(centres[index] - HEIGHTS[zoom] / 2 - Math.floor(pauseHeight(pause) / 2));
    if (broken >= 0 && shown[broken]) take(centres[broken] + 18);
    for (const index of order) {
      if (!shown[index]) continue;
      const fits = isFree(centres[index]);
      if (fits) take(centres[index]);
      marks[index].classList.toggle("bare", !fits);
    }
  }

  function lay() {
    const { middles, pauses, height } = isTrueTime() ? byTime() : byRecord();
    centres = middles;
    picture.setAttribute("height", height + HEAD);
    picture.setAttribute("viewBox", `0 ${-HEAD} ${fullWidth} ${height + HEAD}`);
    marks.forEach((mark, index) => {
      mark.classList.toggle("off", !shown[index]);
      mark.setAttribute("transform", `translate(0,${centres[index]})`);
      tableRows[index].classList.toggle("off", !shown[index]);
    });
    labels = [];
    between.forEach(move);
    if (violation) violation.setAttribute("transform", `translate(0,${centres[broken]})`);
    drawPauses(pauses);
    thin(pauses);
    const visible = shown.filter(Boolean).length;
    byId("shown").textContent = visible === count ? "" : `${visible} of ${count}`;
    byId("out").disabled = zoom === 0;
    byId("in").disabled = zoom === HEIGHTS.length - 1;
    showWindow();
  }

  function filter() {
    const wanted = new Set(all("input[name=kind]:checked", controls).map((box) => box.value));
    const text = controls.elements.text.value.trim().toLowerCase();
    // The violation stays in view whatever is looked for.
    shown = kinds.map((kind, index) => index === broken || (wanted.has(kind) && texts[index].includes(text)));
  }

  // Lays out again and keeps in place what is in the middle of the view, or chosen.
  function relay(change) {
    const middle = scroller.scrollTop + scroller.clientHeight / 2;
    const kept = chosen >= 0 ? chosen : nearest(middle);
    const offset = kept < 0 ? 0 : centres[kept] - scroller.scrollTop;
    change();
    lay();
    if (kept >= 0) scroller.scrollTop = centres[kept] - offset;
    showWindow();
  }

  function nearest(y) {
    let best = -1;
    for (let index = 0; index < count; index += 1) {
      if (shown[index] && (best < 0 || Math.abs(centres[index] - y) < Math.abs(centres[best] - y))) best = index;
    }
    return best;
  }

  function describe(index) {
    const [number, time, lane, , what] = [...tableRows[index].cells].map((cell) => cell.textContent);
    const head = document.createElement("span");
    head.textContent = `#${number}  ${time} s  ${lane}  `;
    return [head, document.createTextNode(what)];
  }

  function choose(index, isToScroll) {
    if (chosen >= 0) marks[chosen].classList.remove("chosen");
    chosen = index;
    if (index < 0) return detail.replaceChildren();
    marks[index].classList.add("chosen");
    detail.replaceChildren(...describe(index));
    if (!isToScroll) return undefined;
    const head = 40, y = centres[index];
    if (y < scroller.scrollTop + head) scroller.scrollTop = y - head;
    const bottom = scroller.scrollTop + scroller.clientHeight - head;
    if (y > bottom) scroller.scrollTop += y - bottom;
    return undefined;
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  let near = -1;
  function point(index, event) {
    if (near >= 0) marks[near].classList.remove("near");
    near = index;
    tip.hidden = index < 0;
    if (index < 0) return;
    marks[index].classList.add("near");
    tip.replaceChildren(...describe(index));
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
  }
  const under = (event) => nearest(event.clientY - picture.getBoundingClientRect().top - HEAD);
  picture.addEventListener("pointermove", (event) => point(under(event), event));
  picture.addEventListener("pointerleave", () => point(-1));
  picture.addEventListener("click", (event) => choose(under(event), false));

  scroller.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") choose(-1, false);
    if (event.key === "Home") choose(shown.indexOf(true), true);
    if (event.key === "End") choose(shown.lastIndexOf(true), true);
    if (step) {
      let next = chosen < 0 ? nearest(scroller.scrollTop + 40) : chosen + step;
      while (next >= 0 && next < count && !shown[next]) next += step;
      if (next >= 0 && next < count) choose(next, true);
    }
    if (step || event.key === "Home" || event.key === "End") event.preventDefault();
  });

  controls.addEventListener("input", (event) => {
    if (event.target.name === "scale") return relay(() => {});
    return relay(filter);
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  byId("in").addEventListener("click", () => relay(() => { zoom = Math.min(zoom + 1, HEIGHTS.length - 1); }));
  byId("out").addEventListener("click", () => relay(() => { zoom = Math.max(zoom - 1, 0); }));

  // The strip above shows which part is in view, and leads to any other.
  const overview = byId("overview");
  const box = byId("window");
  const left = Number(overview.dataset.left), right = Number(overview.dataset.right), end = Number(overview.dataset.end);
  function showWindow() {
    const height = scroller.clientHeight - 26;
    const inView = times.filter((_, index) => shown[index] && centres[index] >= scroller.scrollTop && centres[index] <= scroller.scrollTop + height);
    if (inView.length === 0 || scroller.scrollHeight <= scroller.clientHeight + 1) return box.setAttribute("width", 0);
    const x = (at) => left + at / end * (right - left);
    box.setAttribute("x", x(inView[0]));
    box.setAttribute("width", Math.max(2, x(inView[inView.length - 1]) - x(inView[0])));
    return undefined;
  }
  scroller.addEventListener("scroll", showWindow, { passive: true });
  addEventListener("resize", showWindow);
  overview.addEventListener("click", (event) => {
    const bounds = overview.getBoundingClientRect();
    const at = ((event.clientX - bounds.left) / bounds.width * right - left) / (right - left) * end;
    let best = 0;
    times.forEach((time, index) => { if (shown[index] && Math.abs(time - at) < Math.abs(times[best] - at)) best = index; });
    scroller.scrollTop = centres[best] - scroller.clientHeight / 2;
    choose(best, false);
  });

  // Without its own title a mark is described once, by the tip.
  all("g.row > title").forEach((title) => title.remove());
  controls.hidden = false;
  lay();
})();
