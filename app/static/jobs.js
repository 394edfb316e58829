// The works of this browser: how far they are, cancelling, results. They are remembered, so that a reload loses none.
"use strict";
(() => {
  const eg = window.earthgen, { make } = eg;
  const KEY = "earthgen-jobs", KEPT = 30;
  const NAMES = { generate: "Image", upscale: "Refinement", export: "Export", change: "Change", dataset: "Data set" };
  const PREVIEWED = ["change"]; // whose pictures have a place of their own, and lie in the zip
  const read = () => { try { return JSON.parse(localStorage.getItem(KEY)) || []; } catch { return []; } };
  const write = (ids) => { try { localStorage.setItem(KEY, JSON.stringify(ids.slice(0, KEPT))); } catch { /* private windows */ } };
  const time = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);

  eg.jobs = (element, props, trigger, watch) => {
    const panel = element.querySelector(".eg-jobs");
    if (!panel || panel.dataset.made) return;
    panel.dataset.made = "yes";
    const records = new Map(), rows = new Map();
    let ids = read(), timer = 0;

    const words = (record) => {
      if (record.state === "waiting") return record.ahead ? `waiting, ${record.ahead} before it` : "waiting";
      if (record.state === "running") return `${Math.round(100 * record.progress)} %` + (record.seconds_left === null ? "" : `, ${time(record.seconds_left)} left`);
      if (record.state === "done") return `done in ${time(record.seconds)}`;
      return record.state === "failed" ? `failed: ${record.error}` : "cancelled";
    };

    const title = ({ kind, about }) => [
      NAMES[kind] || kind, about.task, about.size && `${about.size.join(" × ")} px`, about.count && `${about.images ?? about.count} images`, about.pairs > 1 && `${about.pairs} pairs`,
      about.seed !== undefined && `seed ${about.seed}`,
    ].filter(Boolean).join(" · ");

    // What a work is is written once a state, so that neither focus nor pictures are lost while it goes on.
    const draw = (id) => {
      const record = records.get(id), row = rows.get(id);
      if (!record || !row) return;
      const active = record.state === "waiting" || record.state === "running";
      if (row.dataset.state !== record.state) {
        row.dataset.state = record.state;
        const again = record.about.request && ["cancelled", "failed"].includes(record.state);
        const files = record.files.filter((f) => !PREVIEWED.includes(record.kind) || f.type !== "image/png");
        row.replaceChildren(
          make("div", { class: "eg-job" }, make("strong", {}, title(record)), make("span", { class: "eg-words" }),
            active ? make("progress", { max: 1, "aria-label": "Progress" }) : null,
            again ? make("button", { type: "button", onclick: () => goOn(id, record) }, "Go on") : null,
            make("button", { type: "button", onclick: (event) => { event.target.disabled = true; remove(id, active); } }, active ? "Cancel" : "Remove")),
          make("div", { class: "eg-thumbs" }),
          make("div", { class: "eg-links" }, ...files.map((f) => (f.type === "text/html"
            ? make("a", { href: f.url, target: "_blank", rel: "noopener" }, "What is in it")
            : make("a", { href: f.url, download: f.name }, f.name)))),
        );
      }
      row.querySelector(".eg-words").textContent = words(record);
      if (record.state === "running") row.querySelector("progress").value = record.progress;
      const thumbs = row.querySelector(".eg-thumbs"), there = new Map([...thumbs.children].map((a) => [a.getAttribute("href"), a]));
      const images = [...record.files, ...(record.previews || [])].filter((f) => f.type === "image/png");
      if (images.length !== there.size || images.some((f) => !there.has(f.url))) thumbs.replaceChildren(...images.map((f) => there.get(f.url) ||
        make("a", { href: f.url, target: "_blank", rel: "noopener" }, make("img", { src: f.url, alt: `${record.about.prompt || NAMES[record.kind] || ""} ${f.name}`, loading: "lazy" }))));
      thumbs.classList.toggle("eg-many", images.length > 4);
    };

    async function goOn(id, record) {
      try {
        const started = await eg.json(`jobs/${record.kind}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(record.about.request) });
        await remove(id, false);
        add(started.id);
      } catch (error) { rows.get(id).querySelector(".eg-words").textContent = eg.say(error); }
    }

    async function remove(id, active) {
      if (!active) forget(id); // first, as its pictures go
      const answer = await eg.json(`jobs/${id}`, { method: "DELETE" }).catch(() => null); // null: it is gone already
      if (active && answer) records.set(id, answer);
      if (active) { draw(id); poll(); }
    }

    function forget(id) {
      ids = ids.filter((other) => other !== id);
      records.delete(id);
      rows.get(id)?.remove();
      rows.delete(id);
      write(ids);
      panel.classList.toggle("eg-none", !ids.length);
    }

    async function look(id) {
      const before = records.get(id)?.state;
      let record;
      try { record = await eg.json(`jobs/${id}`); } catch (error) {
        if (error.detail) forget(id);
        return;
      }
      records.set(id, record);
      draw(id);
      if (record.state === "done" && before !== "done") {
        eg.done.push(record);
        window.dispatchEvent(new CustomEvent("earthgen:done", { detail: record }));
      }
    }

    const active = (id) => !records.has(id) || ["waiting", "running"].includes(records.get(id).state);

    async function poll() {
      clearTimeout(timer);
      await Promise.all(ids.filter(active).map(look));
      panel.classList.toggle("eg-none", !ids.length);
      if (ids.some(active)) timer = setTimeout(poll, 700);
    }

    function add(id) {
      if (ids.includes(id)) return;
      ids.unshift(id);
      write(ids);
      const row = make("li", {});
      rows.set(id, row);
      panel.querySelector("ul").prepend(row);
      poll();
    }

    for (const id of [...ids].reverse()) { const row = make("li", {}); rows.set(id, row); panel.querySelector("ul").prepend(row); }
    watch("value", () => { if (props.value) add(props.value); });
    poll();
  };
  eg.ready = true; // the last of the scripts
})();
