"""What detections, masks and classes are worth against the truth. JSON-ready records; all shares are 0 to 1."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import UNKNOWN, Box
from earthgen.dataset.detector import Detections
from earthgen.dataset.verify_data import Objects
from earthgen.errors import EarthgenError
from earthgen.metrics.classifier import confusion


def mean_average_precision(
    truth: Sequence[Objects], found: Sequence[Detections], classes: Sequence[str]
) -> dict[str, Any]:
    """Mean average precision by pycocotools: `map50` at an IoU of 0.5, `map` averaged over 0.5 to 0.95.

    Difficult objects are left out: neither finding nor missing one counts. Classes without an object have no precision
    and are not part of the mean; without any object at all both figures are 0.

    Args:
        truth: Of each image.
        found: In each image, in the same order.
        classes: In the order of their numbers.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError as error:
        raise EarthgenError('measuring detectors needs pycocotools: pip install "earthgen[verify]"') from error
    annotations: list[dict[str, Any]] = []
    for image, objects in enumerate(truth):
        for (x0, y0, x1, y1), label, difficult in zip(
            objects.boxes.tolist(), objects.labels.tolist(), objects.difficult.tolist(), strict=True
        ):
            box, area = [x0, y0, x1 - x0, y1 - y0], (x1 - x0) * (y1 - y0)
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": label, "bbox": box, "area": area}
            annotations.append({**row, "iscrowd": int(difficult)})
    results = [
        [image, x0, y0, x1 - x0, y1 - y0, score, label]
        for image, d in enumerate(found)
        for (x0, y0, x1, y1), score, label in zip(d.boxes.tolist(), d.scores.tolist(), d.labels.tolist(), strict=True)
    ]
    if not annotations or not results:
        return {"map50": 0.0, "map": 0.0, "map50_by_class": {}, "objects": len(annotations)}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells of its progress there
        coco = COCO()
        categories = [{"id": k, "name": name} for k, name in enumerate(classes)]
        images = [{"id": k} for k in range(len(truth))]
        coco.dataset = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(np.array(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]  # IoU 0.5: (recalls, classes)
    by_class = {name: float(precision[:, k].mean()) for k, name in enumerate(classes) if (precision[:, k] >= 0).all()}
    average, average50 = (max(float(value), 0.0) for value in evaluation.stats[:2])
    return {"map50": average50, "map": average, "map50_by_class": by_class, "objects": len(annotations)}


def oriented_mean_average_precision(
    truth: Sequence[Objects], found: Sequence[Detections], classes: Sequence[str]
) -> dict[str, Any]:
    """Mean average precision of boxes with headings, by supervision: as `mean_average_precision`.

    Difficult objects are no part of the truth, so finding one counts as a mistake.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # that it has no OpenCV, which it does not need for this
            import supervision
            from supervision.config import ORIENTED_BOX_COORDINATES
            from supervision.metrics import MeanAveragePrecision, MetricTarget
    except ModuleNotFoundError as error:
        raise EarthgenError('measuring detectors needs supervision: pip install "earthgen[verify]"') from error

    def told(corners: NDArray[np.float32], labels: NDArray[np.int64], scores: NDArray[np.float32] | None) -> Any:
        hulls = np.concatenate([corners.min(1), corners.max(1)], 1)
        data: dict[str, Any] = {ORIENTED_BOX_COORDINATES: corners}
        return supervision.Detections(xyxy=hulls, class_id=labels, confidence=scores, data=data)

    metric = MeanAveragePrecision(metric_target=MetricTarget.ORIENTED_BOUNDING_BOXES)
    certain = [objects.certain() for objects in truth]
    for objects, seen in zip(certain, found, strict=True):
        assert objects.rotated is not None and seen.corners is not None
        corners = [Box("object", *row).corners() for row in objects.rotated.tolist()]
        metric.update(
            [told(seen.corners, seen.labels, seen.scores)],
            [told(np.array(corners, np.float32).reshape(-1, 4, 2), objects.labels, None)],
        )
    count = sum(len(objects.labels) for objects in certain)
    if not count or not any(len(seen.labels) for seen in found):
        return {"map50": 0.0, "map": 0.0, "map50_by_class": {}, "objects": count}
    result = metric.compute()
    by_class = dict(zip(result.matched_classes.tolist(), result.ap_per_class[:, 0].tolist(), strict=True))
    return {
        "map50": max(float(result.map50), 0.0),
        "map": max(float(result.map50_95), 0.0),
        "map50_by_class": {name: by_class[k] for k, name in enumerate(classes) if by_class.get(k, -1) >= 0},
        "objects": count,
    }


class Overlap:
    """Intersection over union of masks, counted over all pixels of known class."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.counts = np.zeros((len(classes), len(classes)), np.int64)

    def add(self, truth: NDArray[np.uint8], seen: NDArray[np.integer[Any]]) -> None:
        """Count one image's indices, both (height, width), 255 of `truth` left out."""
        known = truth != UNKNOWN
        self.counts += confusion(truth[known], seen[known], len(self.classes))

    def record(self) -> dict[str, Any]:
        """`miou`, the mean over the classes that occur, `iou_by_class`, and `pixel_accuracy`."""
        both, either = np.diag(self.counts), self.counts.sum(0) + self.counts.sum(1) - np.diag(self.counts)
        occurs = self.counts.sum(1) > 0
        by_class = {c: float(both[k] / either[k]) for k, c in enumerate(self.classes) if occurs[k]}
        return {
            "miou": float(np.mean(list(by_class.values()))) if by_class else 0.0,
            "iou_by_class": by_class,
            "pixel_accuracy": float(both.sum() / max(self.counts.sum(), 1)),
        }
