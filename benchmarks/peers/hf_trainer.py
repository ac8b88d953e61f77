"""Fine-tuning with the Hugging Face Trainer, as its documentation shows it. Prints fit_s (tokenising and training) and the test accuracy."""

from __future__ import annotations

import argparse
import json
import tempfile
import time

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

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
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--grouped", action="store_true")
parser.add_argument("--trained-layers", type=int, default=-1, help="of the body; the head is always trained, -1 for all")
args = parser.parse_args()


class Rows(torch.utils.data.Dataset):
    def __init__(self, texts: list[str], targets: list[int]) -> None:
        self.encoded = tokenizer(texts, truncation=True, max_length=args.length)
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> dict[str, object]:
        return {name: values[i] for name, values in self.encoded.items()} | {"labels": self.targets[i]}


set_seed(args.seed)
train, test = (pl.read_csv(path) for path in (args.train, args.test))
labels = sorted(train["label"].unique().to_list())
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=len(labels))
if args.trained_layers >= 0:
    model.base_model.requires_grad_(False)
    for layer in list(model.base_model.encoder.layer)[len(model.base_model.encoder.layer) - args.trained_layers :]:
        layer.requires_grad_(True)
    if model.base_model.pooler is not None:
        model.base_model.pooler.requires_grad_(True)

began = time.monotonic()
sides = [Rows((side["title"] + " " + side["text"]).to_list(), [labels.index(x) for x in side["label"]]) for side in (train,)]
with tempfile.TemporaryDirectory() as folder:
    settings = TrainingArguments(
        folder,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch,
        learning_rate=args.lr,
        bf16=args.bf16,
        train_sampling_strategy="group_by_length" if args.grouped else "random",
        seed=args.seed,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        per_device_eval_batch_size=64,
    )
    trainer = Trainer(model, settings, train_dataset=sides[0], data_collator=DataCollatorWithPadding(tokenizer))
    trainer.train()
    fit = time.monotonic() - began
    judged = Rows((test["title"] + " " + test["text"]).to_list(), [labels.index(x) for x in test["label"]])
    logits_NC = trainer.predict(judged).predictions
print(json.dumps({"fit_s": fit, "accuracy": float((np.argmax(logits_NC, 1) == np.array(judged.targets)).mean())}))
