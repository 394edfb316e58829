// Boxes, polygons and strokes of a brush on a map, each with a class. By pointer, or by keys: Enter takes the map's middle.
"use strict";
(() => {
  const { make } = window.earthgen;
  const COLOURS = ["#e8590c", "#1971c2", "#2f9e44", "#9c36b5", "#e03131", "#0c8599", "#f08c00", "#5f3dc4"];

  class Drawing {
    // `labels` are classes to choose from, `word` says what a label is; `things` are the classes of objects, where a
    // shape may be one in place of what the label says.
    constructor(map, { labels, redo, word, things }) {
      Object.assign(this, { map, tool: "move", shapes: [], begun: null, touched: false });
      this.layers = L.layerGroup().addTo(map);
      const list = `eg-classes-${window.earthgen.random()}`;
      this.label = make("input", { type: "text", list, placeholder: word, "aria-label": word, maxlength: 200, value: labels[0] });
      const offered = make("datalist", { id: list });
      const offer = (words) => offered.replaceChildren(...words.map((value) => make("option", { value })));
      offer(labels);
      this.role = things && make("select", {
        "aria-label": "What shapes are", onchange: () => {
          const thing = this.role.value === "thing", words = thing ? things : labels;
          offer(words);
          this.label.value = words[0];
          this.label.placeholder = this.label.ariaLabel = thing ? "Class of the object" : word;
        },
      }, make("option", { value: "region" }, "Region"), make("option", { value: "thing" }, "Object"));
      this.size = make("input", { type: "range", min: 1, max: 40, value: 8, "aria-label": "Width of the brush, in screen pixels" });
      this.width = make("label", { class: "eg-note", hidden: true }, "width ", this.size);
      this.tools = {};
      for (const [tool, text, hint] of [
        ["move", "Move", "Move the map"],
        ["box", "Box", "Draw a box: drag, or Enter at two corners. Turn it in the list below"],
        ["polygon", "Polygon", "Draw a polygon: a click or Enter for each corner, then Finish"],
        ["brush", "Brush", "Paint: drag, or Enter for each point, then Finish"],
        ...(redo ? [["redo", "Paint anew", "Paint where the image is to be made anew"]] : []),
      ]) this.tools[tool] = make("button", { type: "button", title: hint, "aria-pressed": String(tool === "move"), onclick: () => this.use(tool) }, text);
      this.finish = make("button", { type: "button", hidden: true, onclick: () => this.end() }, "Finish");
      this.hide = make("button", { type: "button", title: "Hide what is drawn; it stays", "aria-pressed": "false", onclick: () => this.see(!this.seen) }, "Hide");
      const clear = make("button", { type: "button", onclick: () => { this.shapes = []; this.update(); } }, "Clear");
      this.list = make("ul", { class: "eg-shapes", "aria-label": "What is drawn" });
      this.bar = make("div", { class: "eg-bar", role: "toolbar", "aria-label": "Drawing" },
        ...Object.values(this.tools), this.finish, this.role, this.label, offered, this.width, this.hide, clear);
      const container = map.getContainer();
      container.append(make("div", { class: "eg-cross", "aria-hidden": "true" }));
      container.addEventListener("pointerdown", (event) => this.down(event));
      container.addEventListener("pointermove", (event) => this.over(event));
      for (const name of ["pointerup", "pointercancel"]) container.addEventListener(name, (event) => this.up(event));
      container.addEventListener("keydown", (event) => this.key(event));
      map.on("zoomend", () => this.paint());
    }

    get seen() { return this.map.hasLayer(this.layers); }
    see(shown) {
      if (shown) this.layers.addTo(this.map); else this.layers.remove();
      this.hide.setAttribute("aria-pressed", !shown);
    }

    use(tool) {
      this.end();
      this.tool = tool;
      for (const [name, button] of Object.entries(this.tools)) button.setAttribute("aria-pressed", name === tool);
      this.width.hidden = !["brush", "redo"].includes(tool);
      const moving = tool === "move";
      this.map.dragging[moving ? "enable" : "disable"]();
      this.map.doubleClickZoom[moving ? "enable" : "disable"]();
      this.map.getContainer().classList.toggle("eg-drawing", !moving);
    }

    // Canvas units: pixels of level 0, which on an image are its own.
    at(latlng) { const p = this.map.project(latlng, 0); return [p.x, p.y]; }
    place(point) { return this.map.unproject(point, 0); }
    unit() { return 1 / this.map.getZoomScale(this.map.getZoom(), 0); }

    begin(point) {
      const label = this.label.value.trim();
      const kind = this.tool === "redo" ? "brush" : this.tool;
      const shape = { kind, label: this.tool === "redo" ? "" : label, redo: this.tool === "redo", thing: this.role?.value === "thing" };
      if (kind === "box") Object.assign(shape, { from: point, x: point[0], y: point[1], width: 0, height: 0, angle: 0 });
      else Object.assign(shape, { points: [point], radius: this.size.value * this.unit() });
      this.begun = shape;
      this.finish.hidden = false;
      this.see(true);
    }

    stretch(point) {
      const { from } = this.begun;
      Object.assign(this.begun, {
        x: (from[0] + point[0]) / 2, y: (from[1] + point[1]) / 2,
        width: Math.abs(point[0] - from[0]), height: Math.abs(point[1] - from[1]),
      });
    }

    down(event) {
      if (this.tool === "move" || event.button || event.target.closest(".leaflet-control, .eg-compare")) return;
      event.preventDefault();
      this.map.getContainer().focus({ preventScroll: true });
      const point = this.at(this.map.mouseEventToLatLng(event));
      if (this.tool === "polygon" && this.begun) this.begun.points.push(point);
      else { this.end(); this.begin(point); }
      this.dragging = this.tool !== "polygon";
      if (this.dragging) event.target.setPointerCapture?.(event.pointerId);
      this.paint();
    }

    over(event) {
      if (!this.dragging || !this.begun) return;
      const point = this.at(this.map.mouseEventToLatLng(event));
      if (this.begun.kind === "box") this.stretch(point);
      else if (this.begun.points.length < 2000) this.begun.points.push(point);
      this.paint();
    }

    up() {
      if (!this.dragging) return;
      this.dragging = false;
      this.end();
    }

    key(event) {
      if (this.tool === "move" || event.target !== this.map.getContainer()) return;
      if (event.key === "Escape") { this.begun = null; this.finish.hidden = true; this.paint(); return; }
      if (event.key !== "Enter") return;
      event.preventDefault();
      const point = this.at(this.map.getCenter());
      if (!this.begun) this.begin(point);
      else if (this.begun.kind === "box") { this.stretch(point); this.end(); return; }
      else this.begun.points.push(point);
      this.paint();
    }

    end() {
      const shape = this.begun;
      this.begun = null;
      this.finish.hidden = true;
      if (!shape) return;
      const enough = shape.kind === "box" ? shape.width > 0 && shape.height > 0 : shape.points.length > (shape.kind === "polygon" ? 2 : 0);
      if (!enough || (!shape.label && !shape.redo)) { this.paint(); return; }
      delete shape.from;
      this.shapes.push(shape);
      this.update();
    }

    update() { this.touched = true; this.paint(); this.tell(); }

    // All that is drawn; what is still being drawn is taken as finished.
    all() { this.end(); return this.shapes; }

    // As if nothing had been drawn yet but what was there before.
    reset(shapes = []) { this.begun = null; this.shapes = shapes; this.update(); this.touched = false; }

    colour(shape) {
      if (shape.redo) return "#ffffff";
      let hash = 0;
      for (const letter of shape.label) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
      return COLOURS[hash % COLOURS.length];
    }

    paint() {
      this.layers.clearLayers();
      for (const shape of [...this.shapes, ...(this.begun ? [this.begun] : [])]) {
        const style = { color: this.colour(shape), weight: 2, fillOpacity: 0.1, interactive: false }; // what is made there is seen
        if (shape.kind === "box") {
          const turn = (shape.angle * Math.PI) / 180, c = Math.cos(turn), s = Math.sin(turn);
          const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([i, j]) => {
            const a = (i * shape.width) / 2, b = (j * shape.height) / 2;
            return this.place([shape.x + a * c - b * s, shape.y + a * s + b * c]);
          });
          L.polygon(corners, style).addTo(this.layers);
        } else if (shape.kind === "polygon") L.polygon(shape.points.map((p) => this.place(p)), style).addTo(this.layers);
        else {
          const weight = Math.max(2, (2 * shape.radius) / this.unit());
          const points = shape.points.length > 1 ? shape.points : [shape.points[0], shape.points[0]];
          L.polyline(points.map((p) => this.place(p)), { ...style, weight, opacity: 0.5, lineCap: "round", lineJoin: "round" }).addTo(this.layers);
        }
      }
    }

    tell() {
      this.list.replaceChildren(...this.shapes.map((shape, n) => {
        const swatch = make("span", { class: "eg-swatch", style: `background:${this.colour(shape)}` });
        const name = shape.redo ? make("span", {}, "made anew") : make("input", {
          type: "text", value: shape.label, maxlength: 200, "aria-label": `Class of shape ${n + 1}`,
          onchange: (event) => { if (event.target.value.trim()) { shape.label = event.target.value.trim(); this.update(); } },
        });
        const angle = shape.kind !== "box" ? null : make("label", {}, "turned ", make("input", {
          type: "number", value: shape.angle, min: -180, max: 180, step: 5, "aria-label": `Angle of shape ${n + 1}, degrees clockwise`,
          onchange: (event) => { shape.angle = Number(event.target.value) || 0; this.paint(); },
        }), "°");
        const remove = make("button", { type: "button", "aria-label": `Remove shape ${n + 1}`, onclick: () => { this.shapes.splice(n, 1); this.update(); } }, "×");
        return make("li", {}, swatch, make("span", {}, shape.redo ? "" : shape.thing ? `object, ${shape.kind}` : shape.kind), name, angle, remove);
      }));
    }
  }

  window.earthgen.Drawing = Drawing;
})();
