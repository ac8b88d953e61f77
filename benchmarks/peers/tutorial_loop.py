"""Fine-tuning as tutorials write it: every text padded to the full length, a plain loop in fp32. Prints fit_s and the test accuracy."""

from __future__ import annotations

import argparse
import json
import time

import polars as pl
import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

parser = argparse.ArgumentParser()
for name, kind in (
    ("model", str),
    ("train", str),
    ("test", str),
    ("epochs", int),
    ("lr", float),
    ("batch", int),
    ("length", int),
    ("seed", int),
):
    parser.add_argument(f"--{name}", type=kind, required=True)
args = parser.parse_args()

torch.manual_seed(args.seed)
train, test = (pl.read_csv(path) for path in (args.train, args.test))
labels = sorted(train["label"].unique().to_list())
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=len(labels))


def tensors(side: pl.DataFrame) -> TensorDataset:
    texts = (side["title"] + " " + side["text"]).to_list()
    encoded = tokenizer(texts, truncation=True, max_length=args.length, padding="max_length", return_tensors="pt")
    return TensorDataset(encoded["input_ids"], encoded["attention_mask"], torch.tensor([labels.index(x) for x in side["label"]]))


began = time.monotonic()
loader = DataLoader(tensors(train), batch_size=args.batch, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
model.train()
for _ in range(args.epochs):
    for ids_BT, mask_BT, target_B in loader:
        optimizer.zero_grad()
        loss = model(input_ids=ids_BT, attention_mask=mask_BT, labels=target_B).loss
        loss.backward()
        optimizer.step()
fit = time.monotonic() - began
model.eval()
right = 0
with torch.no_grad():
    for ids_BT, mask_BT, target_B in DataLoader(tensors(test), batch_size=64):
        right += int((model(input_ids=ids_BT, attention_mask=mask_BT).logits.argmax(1) == target_B).sum())
print(json.dumps({"fit_s": fit, "accuracy": right / len(test)}))
