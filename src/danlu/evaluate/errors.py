"""Where a classifier goes wrong: which labels it confuses, and the errors it was surest of, with the rows they come from.

Shapes: N rows, C classes.
"""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

import numpy as np

from danlu.core.errors import DanluError
from danlu.core.types import Sound
from danlu.fields.audio import resample, to_int16

MOST = 24  # errors shown
_MATRIX = 50  # classes up to which the whole matrix is kept
_PAIRS = 20
_TEXT = 280  # characters
_PICTURE = 144  # pixels of the longer edge
_SECONDS, _RATE = 3.0, 16_000  # of a sound: 24 of them stay under 3.2 MB


def confusion(predicted_N: np.ndarray, targets_N: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """`matrix` [truth][prediction] of counts (null above 50 labels) and `pairs`, the most frequent confusions."""
    classes = len(labels)
    matrix_CC = np.bincount(targets_N * classes + predicted_N, minlength=classes * classes).reshape(classes, classes)
    wrong_CC = matrix_CC - np.diag(np.diag(matrix_CC))
    worst = np.argsort(-wrong_CC, axis=None, kind="stable")[:_PAIRS]
    places = [(int(flat) // classes, int(flat) % classes) for flat in worst if wrong_CC.flat[flat]]
    return {
        "matrix": matrix_CC.tolist() if classes <= _MATRIX else None,
        "pairs": [
            {"truth": labels[t], "prediction": labels[p], "n": int(wrong_CC[t, p]), "of": int(matrix_CC[t].sum())} for t, p in places
        ],
    }


def surest(dataset: Any, task: Any, rows_N: np.ndarray, p_NC: np.ndarray, targets_N: np.ndarray) -> list[dict]:
    """Up to 24 errors in falling order of the score given to the wrong label, each with its row as something a page can show."""
    if not len(rows_N):
        return []
    labels, (field, kind) = task.labels, next(iter(task.inputs.items()))
    predicted_N, top_N = p_NC.argmax(axis=1), p_NC.max(axis=1)
    wrong = np.flatnonzero(predicted_N != targets_N)
    chosen = wrong[np.argsort(-top_N[wrong], kind="stable")][:MOST]
    return [
        {
            "origin": dataset.origin(int(rows_N[i])),
            "truth": labels[targets_N[i]],
            "prediction": labels[predicted_N[i]],
            "score": float(top_N[i]),
            "truth_score": float(p_NC[i, targets_N[i]]),
            "scores": {labels[c]: float(p_NC[i, c]) for c in np.argsort(-p_NC[i], kind="stable")[:5]},
            "input": shown(kind, dataset.row(int(rows_N[i]))[field]),
        }
        for i in chosen
    ]


def shown(kind: str, value: Any) -> dict[str, Any]:
    """A decoded value for a page: text shortened to 280 characters, a picture as a PNG data URI, a sound's first 3 s as a WAV data URI."""
    if kind == "image":
        return {"kind": kind, **_picture(value)}
    if kind == "audio":
        return {"kind": kind, **_sound(value)}
    text = str(value).strip()
    return {"kind": "text", "text": text[:_TEXT], "shortened": len(text) > _TEXT}


def _picture(image_HWC: np.ndarray) -> dict[str, Any]:
    from PIL import Image

    picture = Image.fromarray(image_HWC[:, :, 0] if image_HWC.shape[2] == 1 else image_HWC)
    picture.thumbnail((_PICTURE, _PICTURE))
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return {"src": _data_uri("image/png", file.getvalue()), "height": image_HWC.shape[0], "width": image_HWC.shape[1]}


def _sound(sound: Sound) -> dict[str, Any]:
    short = Sound(sound.samples[: int(_SECONDS * sound.rate)], sound.rate)
    rate = min(_RATE, sound.rate)
    try:
        samples = resample(short, rate)
    except DanluError:  # without soxr: every n-th sample, for the ear only
        step = -(-sound.rate // _RATE)
        samples, rate = short.samples[::step], sound.rate // step
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(to_int16(samples).astype("<i2").tobytes())
    seconds = len(sound.samples) / sound.rate
    return {"src": _data_uri("audio/wav", file.getvalue()), "seconds": round(seconds, 2), "shortened": seconds > _SECONDS}


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
