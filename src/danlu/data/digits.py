"""The handwritten digits that scikit-learn carries, written out as an ordinary folder of pictures per class.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998); 1,797 pictures of 8 x 8 pixels, 17 greys.
"""

from __future__ import annotations

from pathlib import Path

from danlu.core.files import disk_errors

_HELD_BACK = 10  # pictures that stand in a folder of their own, for predicting something new


def write_digits(folder: Path) -> tuple[int, Path]:
    """Writes `folder/DIGIT/NUMBER.png` and `folder-new/DIGIT-NUMBER.png`; how many stand in `folder`, and the other folder's path.

    Files that are there already are left as they are.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    unseen = folder.with_name(f"{folder.name}-new")
    with disk_errors(folder):
        unseen.mkdir(parents=True, exist_ok=True)
        for number, (image_HW, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
            held_back = number >= len(bunch.images) - _HELD_BACK
            file = unseen / f"{label}-{number:04}.png" if held_back else folder / str(label) / f"{number:04}.png"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((image_HW * 255 / 16).round().astype("uint8")).save(file)
    return len(bunch.images) - _HELD_BACK, unseen
