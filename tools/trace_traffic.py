"""Bytes that a pass moves through a card's memory and over its bus, and what makes the host wait, on fake tensors."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

# Matrix products, convolutions and attention are bound by arithmetic: what they read and write is counted apart.
PRODUCTS = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "linear",
    "convolution",
    "int8_linear",
    "_scaled_mm",
    "_int_mm",
    "attention",
)
UNTOUCHED = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_")
INSPECTIONS = ("device", "_unsafe_view", "detach")
WAITING = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "_unique2", "unique_dim", "masked_select")
COPIES = ("_to_copy", "copy_", "to")


class Readings(TorchDispatchMode):
    """`with Readings() as readings:` ... then readings.count: how often a tensor's numbers were asked for, on any device."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function._schema.name.split("::")[1] in WAITING
        return function(*args, **(kwargs or {}))


def distinct_bytes(tensor: torch.Tensor) -> int:
    """Bytes that a tensor's elements lie in; what is expanded is counted once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride or not size else 1
    return count * tensor.element_size()


class Traffic(TorchDispatchMode):
    """`with Traffic() as traffic:` ... then the counts.

    moved: bytes read and written by everything that is no product. by_name: the same for each operation. calls: how
    often each ran, products included. sent: bytes copied from the CPU to the card. waits: calls that stop the host until the card is done.
    """

    def __init__(self):
        super().__init__()
        self.by_name, self.calls, self.waits = Counter(), Counter(), Counter()
        self.sent = 0

    @property
    def moved(self) -> int:
        return sum(self.by_name.values())

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        name = function._schema.name.split("::")[1]
        read = {k: v for k, v in kwargs.items() if k != "out"}
        given = [t for t in tree_flatten((args, read))[0] if isinstance(t, torch.Tensor)]
        made = [t for t in tree_flatten(out)[0] if isinstance(t, torch.Tensor)]
        on_card = [t for t in (*given, *made) if t.device.type == "cuda"]
        if not on_card:
            return out
        if name in WAITING:
            self.waits[name] += 1
        if name in COPIES and given and len({t.device.type for t in (*given, *made)}) > 1:
            self._across(name, given, made, kwargs, args)
            return out
        if function.is_view or name in (*UNTOUCHED, *INSPECTIONS):
            return out
        self.calls[name] += 1
        if any(part in name for part in PRODUCTS):
            return out
        if not made:  # custom operations in place return nothing
            made = [
                a
                for a, declared in zip(args, function._schema.arguments, strict=False)
                if declared.alias_info is not None and declared.alias_info.is_write
            ]
        reads = given[1:] if name in ("copy_", "fill_", "zero_") else given
        self.by_name[name] += sum(map(distinct_bytes, (*reads, *made)))
        return out

    def _across(self, name, given, made, kwargs, args) -> None:
        """A copy between the CPU and the card."""
        blocking = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
        to_card = (given[0] if name == "copy_" else made[0]).device.type == "cuda"
        source = given[-1] if name == "copy_" else given[0]
        if to_card:
            self.sent += source.numel() * source.element_size()
        if blocking:
            self.waits["to the card" if to_card else "from the card"] += 1
