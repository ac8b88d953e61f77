"""A script for the Hugging Face Trainer that learns a folder of pictures per class, from the pictures to the report and the saved model.

The network is given, and so are the rows of each side. Prints the test accuracy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import classification_report
from transformers import Trainer, TrainingArguments, set_seed

from danlu.nn.image.cnn import CNN

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path, required=True)
parser.add_argument("--out", type=Path, required=True)
for name, kind in (("epochs", int), ("lr", float), ("batch", int), ("seed", int)):
    parser.add_argument(f"--{name}", type=kind, required=True)
args = parser.parse_args()


class Pictures(torch.utils.data.Dataset):
    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> dict[str, object]:
        picture = np.asarray(Image.open(self.files[i]), np.float32)
        return {"image": torch.from_numpy(picture.copy())[None], "labels": int(self.files[i].parent.name)}


class Network(torch.nn.Module):
    """What the Trainer wants: labels in, the loss and the logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = CNN(10, "small", channels=1, height=8, width=8, mean=[0.305], std=[0.376])

    def forward(self, image: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.net({"image": image})
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


set_seed(args.seed)
files = sorted(args.data.glob("*/*.png"))
order = np.random.default_rng(0).permutation(len(files))
parts = np.split(order, [int(0.7 * len(files)), int(0.8 * len(files))])
train, validation, test = (Pictures([files[i] for i in part]) for part in parts)
settings = TrainingArguments(
    str(args.out),
    num_train_epochs=args.epochs,
    per_device_train_batch_size=args.batch,
    per_device_eval_batch_size=64,
    learning_rate=args.lr,
    seed=args.seed,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    use_cpu=True,
    report_to=["tensorboard"],
    disable_tqdm=True,
)
model = Network().to(memory_format=torch.contiguous_format)  # the Trainer cannot save any other
trainer = Trainer(model, settings, train_dataset=train, eval_dataset=validation)
trainer.train()
predicted = trainer.predict(test)
trainer.save_model(str(args.out / "model"))
found = classification_report(predicted.label_ids, predicted.predictions.argmax(1), output_dict=True)
(args.out / "report.json").write_text(json.dumps(found))
print(json.dumps({"accuracy": found["accuracy"]}))
