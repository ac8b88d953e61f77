"""`danlu prove`: every shortcut shown equal to the plain way, on the user's machine and data, by the code that trains."""

from danlu.train.prove.all import Proof, prove

__all__ = ["Proof", "prove"]
