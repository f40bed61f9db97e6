"""How a worker ends where nobody can mend what happened: at once, with its traceback, and a code that says why."""

import os
import sys
import traceback
from collections.abc import Callable
from threading import Thread
from typing import Any, NoReturn

import torch

from millstream.errors import TooLargeError
from millstream.server.messages import FAULT, OUT_OF_MEMORY

WORDS = "not enough memory", "can't allocate memory", "out of memory"  # all that PyTorch's allocators say, but for CUDA


def out_of_memory(error: BaseException | None) -> bool:
    """Whether it is for lack of memory, on the processor or on a device, met or foreseen; or its cause is."""
    if error is None:
        return False
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)
    short = isinstance(error, MemoryError | torch.OutOfMemoryError | TooLargeError)
    return said or short or out_of_memory(error.__cause__)


def die(error: BaseException) -> NoReturn:
    """End this process; other threads are not waited for, since they may never come back."""
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(OUT_OF_MEMORY if out_of_memory(error) else FAULT)


def start(name: str, work: Callable[..., None], *args: Any) -> None:
    """Run `work` in a thread; a fault there ends the process."""

    def guarded() -> None:
        try:
            work(*args)
        except BaseException as error:
            die(error)

    Thread(target=guarded, daemon=True, name=f"millstream-{name}").start()
