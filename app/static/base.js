// What the canvases share: small helpers, pictures from outside, and a slider between two layers.
"use strict";
window.earthgen = (() => {
  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");
  const client = random();
  const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function say(error) {
    const detail = error && error.detail;
    if (Array.isArray(detail)) return detail.map((d) => `${d.loc.slice(-1)[0]}: ${d.msg}`).join("; ");
    return detail || String((error && error.message) || error);
  }

  // Ask the server. When it is busy it says for how long, and is asked again.
  async function ask(url, options = {}, tries = 5) {
    for (;;) {
      const answer = await fetch(url, { ...options, headers: { "Earthgen-Client": client, ...options.headers } });
      if (answer.status !== 503 || --tries < 1) return answer;
      await wait(Math.min(Number(answer.headers.get("Retry-After")) || 1, 10));
    }
  }

  async function json(url, options) {
    const answer = await ask(url, options);
    const body = await answer.json().catch(() => ({ detail: answer.statusText }));
    if (!answer.ok) throw body;
    return body;
  }

  const PICTURES = {
    url: "uploads", accept: ".png,.jpg,.jpeg,.tif,.tiff",
    words: (upload) => `${upload.width} × ${upload.height} px` + (upload.georeferenced ? ", with its place" : ""),
  };

  // Send a file to the server, a picture if nothing else is said. Only what it shows is kept there, and its place.
  function filePicker(label, taken, { url, accept, words } = PICTURES) {
    const note = make("span", { class: "eg-note", role: "status" });
    const input = make("input", {
      type: "file", accept, "aria-label": label,
      onchange: async () => {
        if (!input.files.length) return;
        note.textContent = "sending…";
        try {
          const upload = await json(url, { method: "POST", body: input.files[0] });
          note.textContent = words(upload);
          taken(upload);
        } catch (error) { note.textContent = say(error); }
      },
    });
    const clear = make("button", { type: "button", onclick: () => { input.value = ""; note.textContent = ""; taken(null); } }, "Remove");
    return make("div", { class: "eg-bar" }, make("label", { class: "eg-file" }, label + " ", input), clear, note);
  }

  // A slider over a map that shows one pane to its left and another to its right.
  class Compare {
    constructor(map, pane) {
      this.map = map;
      this.pane = map.createPane(pane);
      this.pane.style.zIndex = 250;
      this.input = make("input", { type: "range", class: "eg-compare", min: 0, max: 100, step: 1, value: 50, "aria-label": "Compare: left and right" });
      this.line = make("div", { class: "eg-compare-line" });
      this.labels = [make("span", { class: "eg-side eg-left" }), make("span", { class: "eg-side eg-right" })];
      this.box = make("div", { class: "eg-compare-box", hidden: true }, this.line, ...this.labels, this.input);
      map.getContainer().append(this.box);
      L.DomEvent.disableClickPropagation(this.input);
      this.input.addEventListener("keydown", (event) => event.stopPropagation());
      this.input.addEventListener("input", () => this.clip());
      map.on("move zoom resize viewreset zoomend", () => this.clip());
    }
    show(left, right) {
      this.box.hidden = false;
      this.labels[0].textContent = left;
      this.labels[1].textContent = right;
      this.clip();
    }
    hide() { this.box.hidden = true; }
    clip() {
      if (this.box.hidden) return;
      const size = this.map.getSize(), x = (size.x * this.input.value) / 100;
      const a = this.map.containerPointToLayerPoint([x, 0]), b = this.map.containerPointToLayerPoint([size.x, size.y]);
      this.pane.style.clip = `rect(${a.y}px, ${b.x}px, ${b.y}px, ${a.x}px)`;
      this.line.style.left = `${x}px`;
    }
  }

  // A map whose pixels are an image's.
  function imageMap(element, label) {
    const map = L.map(element, { crs: L.CRS.Simple, minZoom: -4, maxZoom: 5, zoomSnap: 0.25, attributionControl: false, keyboard: true });
    element.setAttribute("aria-label", label);
    const bounds = (width, height) => L.latLngBounds([-height, 0], [0, width]);
    map.fit = (width, height) => {
      map.extent = bounds(width, height);
      map.invalidateSize();
      map.setMaxBounds(null); // new bounds around the former view would begin to move it
      map.fitBounds(map.extent, { animate: false });
      map.setMaxBounds(map.extent.pad(1));
    };
    map.picture = (url, width, height, pane) => L.imageOverlay(url, bounds(width, height), { pane: pane || "tilePane", className: "eg-pixels" }).addTo(map);
    map.fit(256, 256);
    new ResizeObserver(() => { map.invalidateSize(); if (!map.touched && map.extent) map.fitBounds(map.extent, { animate: false }); }).observe(element);
    map.on("dragstart zoomstart", (event) => { if (event.originalEvent) map.touched = true; });
    return map;
  }

  // What a person has on each canvas at the moment, by its name: `now.generate()`.
  return { done: [], now: {}, client, random, wait, make, say, ask, json, filePicker, Compare, imageMap };
})();
