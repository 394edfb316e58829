// The canvases of single images: what is asked of a new one, and an image of one's own beside what was made of it.
"use strict";
(() => {
  const eg = window.earthgen, { make } = eg;
  const pictures = (record) => record.files.filter((file) => file.type === "image/png");

  // An image, one's own or a new one of some size, with what is drawn on it. `show` puts another picture there.
  eg.easel = (name, element, props, watch, { label, labels, redo, word }) => {
    const place = element.querySelector(".eg-map");
    if (!place || place.dataset.made) return null;
    place.dataset.made = "yes";
    const map = eg.imageMap(place, "The image. Arrow keys move it, plus and minus zoom");
    const easel = { map, upload: null };
    let size = { width: 256, height: 256 }, shown = null, frame = null;
    const fit = () => {
      const { width, height } = easel.upload || size;
      map.touched = false;
      map.fit(width, height);
      if (frame) frame.remove();
      frame = L.rectangle(map.extent, { color: "#868e96", weight: 1, fill: false, interactive: false }).addTo(map);
    };
    easel.show = (url, width, height) => {
      if (shown) shown.remove();
      shown = url ? map.picture(url, width, height) : null;
    };
    const drawing = new eg.Drawing(map, { labels, redo, word });
    const picker = eg.filePicker(label, (taken) => {
      easel.upload = taken;
      easel.show(taken && `uploads/${taken.id}.png`, taken?.width, taken?.height);
      fit();
    });
    eg.now[name] = () => ({ shapes: drawing.all(), image: easel.upload });
    element.querySelector(".eg-above").append(picker);
    element.querySelector(".eg-below").append(drawing.bar, drawing.list);
    const resize = () => { try { size = JSON.parse(props.value) || size; } catch { return; } if (!easel.upload) fit(); };
    watch("value", resize);
    resize();
    fit();
    place.map = map;
    return easel;
  };

  eg.generate = (element, props, trigger, watch) => {
    const easel = eg.easel("generate", element, props, watch, {
      label: "Start from an image", redo: true, word: "Class of what is drawn",
      labels: ["building", "ship", "airplane", "vehicle", "water", "forest", "road", "grass", "bare ground"],
    });
    if (!easel) return;
    window.addEventListener("earthgen:done", ({ detail }) => {
      const first = pictures(detail)[0];
      if (detail.kind === "generate" && first) easel.show(first.url, ...detail.about.size);
    });
  };

  eg.refine = (element) => {
    const place = element.querySelector(".eg-map");
    if (!place || place.dataset.made) return;
    place.dataset.made = "yes";
    const map = eg.imageMap(place, "Before and after. Arrow keys move it, plus and minus zoom");
    const compare = new eg.Compare(map, "after");
    let before = null, after = null, upload = null;
    element.querySelector(".eg-above").append(eg.filePicker("Image to refine", (taken) => {
      upload = taken;
      for (const layer of [before, after]) if (layer) layer.remove();
      before = after = null;
      compare.hide();
      if (taken) { before = map.picture(`uploads/${taken.id}.png`, taken.width, taken.height); map.touched = false; map.fit(taken.width, taken.height); }
    }));
    eg.now.refine = () => ({ image: upload });
    window.addEventListener("earthgen:done", ({ detail }) => {
      const first = pictures(detail)[0];
      if (detail.kind !== "upscale" || !first || !upload || detail.about.image !== upload.id) return;
      if (after) after.remove();
      after = map.picture(first.url, upload.width, upload.height, "after");
      compare.show("before", "after");
    });
    place.map = map;
  };
})();
