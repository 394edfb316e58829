// The world's map: tiles that are shown coarse at once and refined, place search, drawing, comparing, a link to the view.
"use strict";
(() => {
  const eg = window.earthgen, { make } = eg;
  const REFINING = 3; // requests that wait for the model at once: a browser has but six to a server
  const DEEPEST = 18;

  // Who is nearest to the middle of the map is refined first.
  class Line {
    constructor() { this.free = REFINING; this.waiting = []; }
    async enter(nearness, signal) {
      if (this.free > 0) { this.free--; return; }
      await new Promise((go) => { this.waiting.push({ nearness, signal, go }); });
    }
    leave() {
      const rank = (one) => (one.signal.aborted ? -1 : one.nearness());
      this.waiting.sort((a, b) => rank(a) - rank(b));
      const next = this.waiting.shift();
      if (next) next.go(); else this.free++;
    }
  }
  const line = new Line();

  const EarthLayer = L.GridLayer.extend({
    options: { query: "", base: 6, coarser: 0, minZoom: 0, maxZoom: DEEPEST, keepBuffer: 1, updateWhenZooming: false, noWrap: false },
    initialize(options) { L.setOptions(this, options); this.left = 0; this.loading = false; this.on("tileunload", ({ tile }) => tile.stop?.abort()); },
    // Levels are made in steps of two: between them the coarser is shown enlarged, which costs nothing.
    _clampZoom(zoom) {
      const { base, coarser } = this.options;
      const z = zoom > base ? base + 2 * Math.floor((zoom - base) / 2) - coarser : zoom;
      return Math.max(Math.min(z, DEEPEST), 0);
    },
    createTile(coords, done) {
      const tile = make("img", { alt: "", width: 256, height: 256 });
      tile.stop = new AbortController();
      this.load(tile, coords, done);
      return tile;
    },
    async load(tile, coords, done) {
      const { signal } = tile.stop;
      let level = -1, shown = null;
      this.count(1);
      try {
        while (level < coords.z) {
          const refining = level >= 0;
          if (refining) await line.enter(() => this.distance(coords), signal);
          let answer;
          try {
            if (signal.aborted) return;
            const query = new URLSearchParams(this.options.query);
            query.set("finer_than", level);
            answer = await fetch(`tiles/${coords.z}/${coords.x}/${coords.y}.png?${query}`, { signal, headers: { "Earthgen-Client": eg.client } });
          } finally { if (refining) line.leave(); }
          if (answer.status === 503) { await eg.wait(Number(answer.headers.get("Retry-After")) || 1); continue; }
          this.loading = answer.headers.get("Earthgen-Model") === "loading";
          if (!answer.ok) { done(new Error(answer.statusText), tile); done = () => {}; return; }
          level = Number(answer.headers.get("Earthgen-Level"));
          const url = URL.createObjectURL(await answer.blob());
          tile.onload = () => { URL.revokeObjectURL(url); tile.onload = null; };
          tile.src = url;
          tile.dataset.level = level;
          this.count(0);
          if (shown === null) { shown = true; done(null, tile); }
        }
      } catch (error) {
        if (error.name !== "AbortError") { console.warn(`a tile was lost: ${error}`); if (shown === null) done(error, tile); }
      } finally { this.count(-1); }
    },
    distance(coords) {
      if (!this._map) return 0;
      const middle = this._map.project(this._map.getCenter(), coords.z).divideBy(256);
      return Math.hypot(middle.x - coords.x - 0.5, middle.y - coords.y - 0.5);
    },
    count(change) { this.left += change; this.fire("left", { left: this.left }); },
  });

  function search(map) {
    const list = make("ul", {
      class: "eg-found", role: "listbox", hidden: true,
      onkeydown: (event) => {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], all = [...list.querySelectorAll("button")];
        if (event.key === "Escape") list.hidden = true;
        if (step) event.preventDefault();
        if (step || event.key === "Escape") ((step && all[all.indexOf(document.activeElement) + step]) || input).focus({ preventScroll: true });
      },
    });
    let last = 0;
    const go = (place) => { list.hidden = true; map.setView([place.lat, place.lon], Math.max(map.getZoom(), 10)); };
    const input = make("input", {
      type: "search", placeholder: "Place, or 46.5, 8.0", "aria-label": "Find a place or coordinates", autocomplete: "off",
      oninput: async () => {
        const mine = ++last, text = input.value.trim();
        const found = text.length < 2 ? [] : await eg.json(`places?q=${encodeURIComponent(text)}`).catch(() => []);
        if (mine !== last) return;
        list.hidden = !found.length;
        list.replaceChildren(...found.map((place) => make("li", { role: "none" }, make("button", { type: "button", role: "option", onclick: () => go(place) }, [place.name, place.country].filter(Boolean).join(", ")))));
        list.found = found;
      },
      onkeydown: async (event) => {
        if (event.key === "Escape") list.hidden = true;
        if (event.key === "ArrowDown") { event.preventDefault(); list.querySelector("button")?.focus({ preventScroll: true }); }
        if (event.key !== "Enter") return;
        event.preventDefault();
        last++;
        const found = await eg.json(`places?q=${encodeURIComponent(input.value.trim())}`).catch(() => []);
        if (found.length) go(found[0]);
      },
    });
    return make("div", { class: "eg-search" }, input, list);
  }

  // The address after #: where the map is, and which world.
  function read() {
    const words = new URLSearchParams(location.hash.slice(1));
    const [zoom, lat, lon] = (words.get("at") || "").split("/").map(Number);
    words.delete("at");
    const there = [zoom, lat, lon].every(Number.isFinite) && zoom <= DEEPEST + 1 && Math.abs(lat) <= 85.06;
    return { at: there ? { zoom, lat, lon } : null, query: words.toString() };
  }

  // A feature as a shape that can be gone on with; null for one that says more than a shape does.
  function shapeOf({ properties, geometry }, at) {
    const [word, ...more] = Object.keys(properties);
    if (more.length || !["class", "prompt"].includes(word) || geometry?.type !== "Polygon" || geometry.coordinates.length > 1) return null;
    const points = geometry.coordinates[0].slice(0, -1).map(([lon, lat]) => at(L.latLng(lat, lon)));
    return { kind: "polygon", label: properties[word], redo: false, thing: word === "class", points };
  }

  eg.explore = (element, props, trigger, watch) => {
    const place = element.querySelector(".eg-map");
    if (!place || place.dataset.made) return;
    place.dataset.made = "yes";
    const start = read(), at = start.at || { zoom: 4, lat: 46.5, lon: 8 };
    const map = L.map(place, { minZoom: 1, maxZoom: DEEPEST, worldCopyJump: true, zoomControl: true, attributionControl: true });
    map.attributionControl.setPrefix("");
    map.attributionControl.addAttribution("Synthetic imagery by earthgen · NASA Blue Marble · places © GeoNames");
    L.control.scale({ imperial: false, position: "topright" }).addTo(map);
    place.setAttribute("aria-label", "Map of the generated world. Arrow keys move it, plus and minus zoom");
    const status = make("span", { class: "eg-status", role: "status", "aria-live": "polite" });
    place.append(status);
    map.setView([at.lat, at.lon], at.zoom);

    const compare = new eg.Compare(map, "compare");
    let layer = null, other = null, query = start.query, compared = "", upload = null, uploaded = false;
    const tell = () => {
      const left = (layer ? layer.left : 0) + (other ? other.left : 0);
      status.textContent = left && layer && layer.loading ? "loading the model" : left ? `preview, ${left} tiles being made` : "";
      place.dataset.left = left;
    };
    const put = (old, options) => {
      const fresh = new EarthLayer(options).on("left", tell);
      fresh.addTo(map);
      if (old) map.removeLayer(old);
      return fresh;
    };
    const link = () => {
      const c = map.getCenter(), words = `at=${map.getZoom()}/${c.lat.toFixed(5)}/${c.wrap().lng.toFixed(5)}`;
      history.replaceState(null, "", `#${[words, query, compared].filter(Boolean).join("&")}`);
    };
    const show = () => {
      let asked;
      try { asked = JSON.parse(props.value); } catch { return; }
      if (!asked) return;
      query = asked.query;
      compared = asked.compare ? new URLSearchParams({ compare: asked.compare.link }).toString() : "";
      layer = put(layer, { query, base: asked.base });
      if (asked.compare) {
        other = put(other, { query: asked.compare.query, base: asked.base, coarser: asked.compare.coarser, pane: "compare" });
        compare.show("as asked", asked.compare.label);
      } else {
        if (other) map.removeLayer(other);
        other = null;
        compare.hide();
      }
      link();
      tell();
      const regions = new URLSearchParams(query).get("regions");
      if (regions && !drawing.touched && !drawing.shapes.length) bring(regions).catch(() => {}); // the map shows them all the same
    };
    // What a link brought is drawn.
    const bring = async (regions) => {
      const { features } = await eg.json(`regions/${regions}`);
      const shapes = features.map((feature) => shapeOf(feature, (latlng) => drawing.at(latlng)));
      if (shapes.every(Boolean) && !drawing.touched && new URLSearchParams(query).get("regions") === regions) drawing.reset(shapes);
    };
    watch("value", show);

    const drawing = new eg.Drawing(map, {
      labels: ["a forest", "a lake", "farmland", "a dense residential area", "a desert", "a river", "an airport"],
      things: ["building", "ship", "airplane", "vehicle", "sports field", "storage tank", "water", "forest", "road"],
      word: "What the region should be",
    });
    let outline = null;
    const picker = eg.filePicker("Grow around a GeoTIFF", (taken) => {
      outline?.remove();
      outline = null;
      if (taken && !taken.bounds) throw new Error("it does not say where it lies: a GeoTIFF with a CRS is needed");
      if (taken) {
        const [west, south, east, north] = taken.bounds;
        outline = L.rectangle([[south, west], [north, east]], { color: "#fff", weight: 1, dashArray: "4", fill: false, interactive: false }).addTo(map);
        map.fitBounds(outline.getBounds().pad(0.5), { animate: false });
      }
      upload = taken;
      uploaded = true;
      trigger("uploaded");
    });
    // What a link brought stays until something is put in its place.
    eg.now.explore = () => {
      const b = map.getBounds(), asked = new URLSearchParams(query), known = asked.get("known"), shapes = drawing.all();
      return {
        shapes: drawing.touched ? shapes : [],
        image: uploaded ? upload : known && { id: known },
        regions: drawing.touched ? null : asked.get("regions"),
        frame: { west: b.getWest(), south: b.getSouth(), east: b.getEast(), north: b.getNorth(), zoom: layer ? layer._clampZoom(map.getZoom()) : map.getZoom() },
      };
    };
    const copied = make("span", { class: "eg-note", role: "status" });
    const copy = make("button", {
      type: "button", onclick: async () => {
        link();
        try { await navigator.clipboard.writeText(location.href); copied.textContent = "copied"; } catch { copied.textContent = "it is in the address bar"; }
      },
    }, "Copy link");
    element.querySelector(".eg-above").append(search(map), copy, copied, picker);
    element.querySelector(".eg-below").append(drawing.bar, drawing.list);

    map.on("moveend", link);
    window.addEventListener("hashchange", () => { // another link in the same window
      const { at: there, query: words } = read();
      if (there) map.setView([there.lat, there.lon], there.zoom);
      if (words === [query, compared].filter(Boolean).join("&")) return;
      drawing.reset();
      uploaded = false;
      trigger("opened", { query: words, loaded: false });
    });
    new ResizeObserver(() => map.invalidateSize()).observe(place);
    place.map = map;
    show();
    trigger("opened", { query: start.query, loaded: true });
  };
})();
