"""The one schema: what a stream is (`StreamConfig`) and what can change while it runs (`Params`).

The command line's options, preset files and every later interface are made from these two models; nothing lists
the parameters a second time.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from millstream.errors import BadInputError

GuidanceMode = Literal["none", "full", "self-negative", "one-time-negative"]
Sampler = Literal["auto", "lcm", "turbo", "ode"]
Stall = Literal["resend", "hold"]
BackendName = Literal["auto", "eager", "cudagraph", "inductor", "openvino"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

MAX_STAGES = 50
MAX_PROMPTS = 8
MAX_PROMPT_LENGTH = 2000
MAX_SHOWN = 60  # characters of a wrong value that a message repeats


class WeightedPrompt(BaseModel):
    """One prompt of a blend. Weights are normalised to sum to 1 when the blend is encoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(max_length=MAX_PROMPT_LENGTH)
    weight: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)


def _as_prompt(value: Any) -> Any:
    """Read `TEXT` or `TEXT::WEIGHT`."""
    if not isinstance(value, str | dict | WeightedPrompt):
        raise ValueError("give text in quotes, or TEXT::WEIGHT")
    if not isinstance(value, str):
        return value
    text, mark, weight = value.rpartition("::")
    if not mark:
        return {"text": value}
    try:
        return {"text": text, "weight": float(weight)}
    except ValueError:
        return {"text": value}


def _as_blend(value: Any) -> Any:
    """Read one prompt or several."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(_as_prompt(item) for item in items)


Blend = Annotated[
    tuple[WeightedPrompt, ...],
    BeforeValidator(_as_blend),
    Field(min_length=1, max_length=MAX_PROMPTS),
]


def _as_milliseconds(value: Any) -> Any:
    """Read `120ms`, `0.12s` or a number of milliseconds."""
    text = value.strip() if isinstance(value, str) else value
    if not isinstance(text, str):
        return value
    factor = 1 if text.endswith("ms") else 1000 if text.endswith("s") else 1
    try:
        return round(float(text.rstrip("ms")) * factor)
    except (ValueError, OverflowError):
        raise ValueError("give milliseconds, for example 120ms, 0.12s or 120") from None


def _as_adapter(value: Any) -> Any:
    """Read `PATH` or `PATH::SCALE`."""
    if not isinstance(value, str):
        return value
    path, mark, scale = value.rpartition("::")
    return {"path": path, "scale": scale} if mark else {"path": value}


class Lora(BaseModel):
    """A low-rank adapter that is fused into the model's weights, times `scale`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    scale: float = Field(default=1.0, ge=-10, le=10, allow_inf_nan=False)


class ModelConfig(BaseModel):
    """Which model runs, and where. `name` is `embedded`, a diffusers folder, a .safetensors file or a hub id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("embedded", description="embedded, a diffusers folder, a .safetensors file, or a hub id")
    base: str | None = Field(None, description="for a .safetensors file: folder or hub id with its configuration")
    vae: str | None = Field(None, description="folder or hub id of an autoencoder in place of the model's own")
    lora: tuple[Annotated[Lora, BeforeValidator(_as_adapter)], ...] = Field(
        (), max_length=8, description="adapter to fuse, again for several: PATH or PATH::SCALE"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="numbers the model runs in")


class StreamConfig(BaseModel):
    """What a stream is: a change here needs new rows, new buffers or a new graph. Frozen, validated once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int | None = Field(
        None, ge=16, le=4096, description="picture width; default: the model's area in the source's aspect"
    )
    height: int | None = Field(
        None, ge=16, le=4096, description="picture height; default: the model's area in the source's aspect"
    )
    input: Literal["image", "text"] = Field("image", description="what enters: pictures, or noise alone")
    steps: int = Field(2, ge=1, le=MAX_STAGES, description="denoising steps a frame passes (stages of the batch)")
    frame_buffer: int = Field(1, ge=1, le=64, description="frames taken in together per tick")
    guidance: GuidanceMode = Field("none", description="how the negative prompt or the input steers the result")
    cross_frame: bool = Field(False, description="self-attention over all frames in flight, for steadier video")
    sampler: Sampler = Field("auto", description="stepping rule; auto reads it from the model's files")
    stall: Stall = Field("resend", description="live, when the source stalls: send the last frame again, or hold")
    backend: BackendName = Field(
        "auto", description="what computes a tick; auto is cudagraph on CUDA, openvino on a CPU, else eager"
    )
    precision: Precision = Field(
        "auto",
        description="numbers openvino computes in; auto is bfloat16 where the processor multiplies it, "
        "and int8 for the embedded model where that is faster still",
    )

    @model_validator(mode="after")
    def _text_has_no_picture(self) -> Self:
        if self.input == "text" and self.guidance == "self-negative":
            raise ValueError("guidance: self-negative needs an input picture; use full or one-time-negative with text")
        return self


class Params(BaseModel):
    """What can change between two frames. A frame keeps the values it entered with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Blend = Field((WeightedPrompt(text=""),), description="what to draw; again for a blend: TEXT::WEIGHT")
    negative_prompt: str = Field("", max_length=MAX_PROMPT_LENGTH, description="what to steer away from")
    seed: int = Field(2, ge=0, lt=2**32, description="seed of all noise")
    strength: float = Field(0.5, ge=0, le=1, description="0 keeps the input, 1 repaints it")
    t_index: tuple[int, ...] | None = Field(
        None, description="stages as indices of a 50-step schedule, 0 the noisiest, in place of strength"
    )
    guidance_scale: float = Field(1.0, ge=0, le=50, description="strength of the guidance; 1 is none")
    delta: float = Field(1.0, ge=0, le=10, description="moderation of the virtual residual noise")
    renoise: bool = Field(True, description="fresh noise between stages, as the method has it")
    noise_correlation: float = Field(
        1.0, ge=0, le=1, description="noise shared between frames: 1 the same for all, 0 independent"
    )
    similarity_filter: bool = Field(False, description="skip frames that hardly differ from the last one processed")
    similarity_threshold: float = Field(0.98, ge=0, lt=1, description="similarity from which skipping begins")
    max_skip: int = Field(10, ge=0, le=10_000, description="consecutive skips after which a frame is processed")
    max_age: Annotated[int | None, BeforeValidator(_as_milliseconds)] = Field(
        None, ge=1, le=60_000, description="live: milliseconds, or 120ms, 0.12s; older pictures are not shown"
    )

    @model_validator(mode="after")
    def _t_index_increases(self) -> Self:
        if self.t_index is None:
            return self
        if not all(0 <= i < MAX_STAGES for i in self.t_index):
            raise ValueError(f"t_index: must lie in 0..{MAX_STAGES - 1}, for example 0 16 32 45")
        if any(b <= a for a, b in zip(self.t_index, self.t_index[1:], strict=False)):
            raise ValueError("t_index: must increase (0 is the noisiest), for example 0 16 32 45")
        return self


class Settings(BaseModel):
    """A preset: one file that holds both, under their own names and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    config: StreamConfig = StreamConfig()
    params: Params = Params()

    @model_validator(mode="after")
    def _an_index_for_every_step(self) -> Self:
        if self.params.t_index is not None and len(self.params.t_index) != self.config.steps:
            raise ValueError(
                f"t_index: give {self.config.steps} values, one a step (got {len(self.params.t_index)}); or set --steps"
            )
        return self


def check(model: type[BaseModel], values: dict[str, Any]) -> Any:
    """Validate `values`; a fault becomes one line that names the field and the cure."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BadInputError(explain(error)) from None


def explain(error: ValidationError) -> str:
    """Turn the first validation fault into one line."""
    fault = error.errors(include_url=False)[0]
    field = ".".join(_short(part) for part in fault["loc"] if not isinstance(part, int))
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{field}': see `millstream convert --help` for the names"
    more = f" (got {_short(repr(fault['input']))})" if fault["type"] != "value_error" else ""
    return f"{field}: {message}{more}" if field else message


def _short(text: str) -> str:
    """One line of bounded length, whatever a file had in it."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "..."


def load_preset(path: Path) -> Settings:
    """Read a YAML preset.

    Raises BadInputError when the file is missing, is not YAML, or has an unknown key.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"preset {path}: {error.strerror}; give the path of a YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # a date that is none and the like are ValueErrors of YAML
        raise BadInputError(f"preset {path}: not a YAML file; write keys as `name: value`") from None
    if not isinstance(values, dict):
        raise BadInputError(f"preset {path}: expected keys `model`, `config` and `params`")
    settings: Settings = check(Settings, values)
    return settings
