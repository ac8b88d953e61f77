"""MNIST as tutorials learn it: one picture at a time from PIL to a tensor, Adam, fp32, a plain loop until the test pictures are right
often enough. The network is given. Prints fit_s (loading and training, judging left out), the passes it took and the test accuracy."""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from danlu.nn.image.cnn import CNN

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path, required=True)
parser.add_argument("--goal", type=float, required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--most", type=int, default=10, help="passes")
args = parser.parse_args()


class Pictures(Dataset):
    def __init__(self, side: str) -> None:
        with gzip.open(args.data / f"{side}-images-idx3-ubyte.gz") as file:
            self.pixels_NHW = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(args.data / f"{side}-labels-idx1-ubyte.gz") as file:
            self.targets_N = np.frombuffer(file.read(), np.uint8, offset=8)

    def __len__(self) -> int:
        return len(self.targets_N)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(self.pixels_NHW[i], mode="L")
        return torch.from_numpy(np.array(picture, np.float32))[None], int(self.targets_N[i])


torch.manual_seed(args.seed)
model = CNN(10, "small", channels=1, height=28, width=28, mean=[0.1307], std=[0.3081])  # which normalises
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
judged = DataLoader(Pictures("t10k"), batch_size=500)
fit, accuracy, passes = 0.0, 0.0, 0
began = time.monotonic()
loader = DataLoader(Pictures("train"), batch_size=args.batch, shuffle=True)
while accuracy < args.goal and passes < args.most:
    model.train()
    for x_BCHW, target_B in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model({"image": x_BCHW}), target_B).backward()
        optimizer.step()
    fit, passes = fit + time.monotonic() - began, passes + 1
    model.eval()
    with torch.no_grad():
        right = sum(int((model({"image": x_BCHW}).argmax(1) == target_B).sum()) for x_BCHW, target_B in judged)
    accuracy = right / len(judged.dataset)
    began = time.monotonic()
print(json.dumps({"fit_s": fit, "passes": passes, "accuracy": accuracy}))
