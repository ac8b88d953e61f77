"""Which part of a model is trained, one file for each family of methods. Works on any Model through its `stages()`."""

from danlu.nn.adapt.apply import FILE, adapter_files, apply, begin_epoch, frozen_eval, merged, rebuild, stored

__all__ = ["FILE", "adapter_files", "apply", "begin_epoch", "frozen_eval", "merged", "rebuild", "stored"]
