"""Batches drawn by other processes while the network learns from those before."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from torch.utils.data import DataLoader, Dataset

DEPTH = 4  # batches under way in each process

Batch = TypeVar("Batch")


class Steps(Dataset[Batch]):
    """`make`, a function of the step alone, in the form that a DataLoader takes."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> Batch:
        return self.make(step)


def ahead(make: Callable[[int], Batch], begin: int, steps: int, workers: int) -> Iterator[Batch]:
    """make(begin), make(begin + 1) and so on to make(steps - 1); with 0 workers each is made when it is asked for."""
    depth = DEPTH if workers else None
    order = range(begin, steps)
    return iter(
        DataLoader(Steps(make), None, sampler=order, num_workers=workers, prefetch_factor=depth, collate_fn=_kept)
    )


def _kept(batch: Batch) -> Batch:
    """The batch as it was made: of numbers a DataLoader would make tensors."""
    return batch
