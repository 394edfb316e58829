// Labels of one's own, to lay the objects of a data set out by.
"use strict";
(() => {
  const eg = window.earthgen;
  const counted = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;
  const LABELS = {
    url: "labels", accept: ".json",
    words: (own) => `${counted(own.objects, "object")} in ${counted(own.images, "image")}: ${own.classes.join(", ")}`,
  };

  eg.dataset = (element, props, trigger) => {
    const place = element.querySelector(".eg-above");
    if (!place || place.dataset.made) return;
    place.dataset.made = "yes";
    let labels = null;
    eg.now.dataset = () => ({ labels: labels?.id });
    place.append(eg.filePicker("Labels of your own (COCO's JSON)", (taken) => {
      labels = taken;
      if (taken) trigger("labelled", { classes: taken.classes });
    }, LABELS));
  };
})();
