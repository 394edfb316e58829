// The canvas of change: what is there at first, and beneath it the two images with their labels, and the events in words.
"use strict";
(() => {
  const eg = window.earthgen, { make } = eg;
  const PARTS = [
    ["before.png", "Before"], ["after.png", "After"], ["change.png", "What changed"],
    ["classes-before.png", "Classes before"], ["classes-after.png", "Classes after"],
  ];

  eg.change = (element, props, trigger, watch) => {
    const result = make("section", { class: "eg-result", hidden: true, "aria-label": "The change" });
    const easel = eg.easel("change", element, props, watch, {
      label: "Start from an image", redo: false, word: "What is there",
      labels: ["building", "vehicle", "ship", "tree", "water", "forest", "grass", "farmland", "bare land"],
    });
    if (!easel) return;
    element.querySelector(".eg-below").append(result);
    let newest = 0;
    const show = ({ kind, created, files, about }) => {
      if (kind !== "change" || created < newest) return;
      newest = created;
      const named = (name) => files.find((file) => file.name === name);
      const zip = files.find((file) => file.name.endsWith(".zip"));
      const missing = Object.entries(about.missing).map(([event, count]) => `${count} × ${event} found no place`);
      const figures = PARTS.filter(([name]) => named(name)).map(([name, caption]) => make("figure", {},
        make("a", { href: named(name).url, target: "_blank", rel: "noopener" }, make("img", { src: named(name).url, alt: caption })),
        make("figcaption", {}, caption)));
      result.replaceChildren(
        make("div", { class: "eg-figures" }, ...figures),
        make("p", { class: "eg-legend" }, ...Object.entries(about.classes).map(([name, colour]) =>
          make("span", {}, make("i", { class: "eg-swatch", style: `background:${colour}` }), name))),
        make("ul", { class: "eg-events", "aria-label": "What happened" }, ...[...about.sentences, ...missing].map((words) => make("li", {}, words))),
        make("a", { href: zip.url, download: zip.name, class: "eg-download" }, about.pairs > 1 ? `Download all ${about.pairs} pairs with labels` : "Download images and labels"),
      );
      result.hidden = false;
      if (!easel.upload) easel.show(named("before.png").url, ...about.size);
    };
    window.addEventListener("earthgen:done", ({ detail }) => show(detail));
    eg.done.forEach(show); // before this canvas was there
  };
})();
