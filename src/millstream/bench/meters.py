"""What a stretch of work costs: joules of a card where its driver counts them, else the process's CPU seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from time import process_time

import torch

NO_NVML = "CPU milliseconds of the process, in place of joules: pip install nvidia-ml-py to have the card's own count."
CPU = "CPU milliseconds of the process, all threads; a processor's joules cannot be read without rights."


@dataclass(frozen=True)
class Meter:
    """A running total in a unit, and what readers must know of it."""

    unit: str
    read: Callable[[], float]
    note: str


def choose_meter(device: torch.device) -> Meter:
    """NVML's joules of a CUDA card where nvidia-ml-py is there, else CPU milliseconds."""
    if device.type == "cuda" and find_spec("pynvml"):
        return _joules(device)
    return Meter("cpu_ms", lambda: process_time() * 1e3, NO_NVML if device.type == "cuda" else CPU)


def _joules(device: torch.device) -> Meter:
    nvml = import_module("pynvml")
    nvml.nvmlInit()
    card = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    note = "Joules of the whole card, by NVML; whatever else runs on it is counted too."
    return Meter("joules", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1e3, note)
