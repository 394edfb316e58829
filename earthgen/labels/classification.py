"""Classified images: `<split>/<class>/`, as torchvision, torchgeo and Keras read them."""

from __future__ import annotations

from pathlib import Path

from earthgen.errors import DataError
from earthgen.labels.base import LabelledSet
from earthgen.labels.reading import Reading, is_split, pictures_in, split_of
from earthgen.labels.writing import Writing, safe_names, splits_of

FORBIDDEN = r'[/\\:*?"<>|\x00-\x1f]'


def write(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write the images that have a class. Readers number classes by the folders of a split, so gaps are noted."""
    chosen = job.known(images, "a class", [image.label is not None for image in images.images])
    names = safe_names({image.label for image in chosen if image.label}, FORBIDDEN, "label")
    found = set()
    for image in job.each(chosen, "classification"):
        assert image.label is not None
        job.picture(image, folder / image.split / names[image.label])
        found.add((image.split, image.label))
    for split in splits_of(chosen):
        for name in sorted(names):
            if (split, name) not in found:
                job.notes.add(
                    "classes without an image in a split shift the numbers of others there", f"{name} in {split}"
                )


def matches(source: Path) -> bool:
    """Whether a folder holds nothing but folders of images, each with pictures right in it."""
    if not source.is_dir():
        return False
    folders = _class_folders(source)
    others = [path for path in source.iterdir() if path.is_file() and path.suffix not in (".txt", ".csv", ".md")]
    return len(folders) > 0 and not others and all(pictures_in(folder, deep=False) for folder in folders)


def read(source: Path, job: Reading) -> LabelledSet:
    """Read the classes of images from their folders; without folders of splits, all are for training."""
    images = []
    folders = _class_folders(source)
    for folder in folders:
        name = job.classes.named(folder.name, str(folder))
        if name is None:
            continue
        split = split_of(folder.parent.name) if folder.parent != source else "train"
        images += [job.image(path, split, label=name) for path in pictures_in(folder)]
    if not images:
        raise DataError(f"{source} holds no folder of a class with images in it")
    return LabelledSet(images)


def _class_folders(source: Path) -> list[Path]:
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    if folders and all(is_split(folder.name) for folder in folders):
        return sorted(path for folder in folders for path in folder.iterdir() if path.is_dir())
    return folders
