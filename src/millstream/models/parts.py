"""The parts of a model as its files hold them: a diffusers folder, or a checkpoint in the original layout."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import diffusers
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny, SchedulerMixin, UNet2DConditionModel
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip import CLIPTokenizer

from millstream.errors import ModelError
from millstream.models.files import fetch, first_line, refuse_pickle, weights_variant
from millstream.models.schedule import make_scheduler
from millstream.models.vocabulary import Vocabulary

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
)
XL_PIPELINES = ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline")
AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny, "AutoencoderDC": AutoencoderDC}
NEVER_USED = ("safety_checker", "feature_extractor", "image_encoder")
XL_ADDED = "model.diffusion_model.label_emb."  # what makes XL's addition to the time embedding
CONFIGURATION = ["*.json", "*/*.json", "*/*.txt"]
TEXT_WEIGHTS = ["text_encoder/*.safetensors", "text_encoder_2/*.safetensors"]
WEIGHTS = ["unet/*.safetensors", "vae/*.safetensors", *TEXT_WEIGHTS]
READING = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, SafetensorError)

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderTiny | AutoencoderDC


@dataclass(frozen=True)
class Parts:
    """A model as diffusers and transformers read it: float32, on the CPU. Stable Diffusion XL reads prompts twice."""

    unet: UNet2DConditionModel
    vae: Autoencoder
    text_encoders: tuple[CLIPTextModel, ...]
    tokenizers: tuple[CLIPTokenizer, ...]
    scheduler: SchedulerMixin
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        for network in self.networks:
            network.float()

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The parts that have weights."""
        return self.unet, self.vae, *self.text_encoders

    @property
    def is_xl(self) -> bool:
        """Whether it is of Stable Diffusion XL's form."""
        return len(self.text_encoders) > 1


def load_parts(path: str, base: str | None, vae: str | None) -> Parts:
    """Read the model at `path`, with the autoencoder `vae` in place of its own.

    `base` names a folder or hub id that gives what a single file does not hold. Raises ModelError where a file is
    missing, unreadable or of an unknown kind.
    """
    autoencoder = load_autoencoder(fetch(vae, ["config.json", "*.safetensors"])) if vae else None
    if Path(path).is_file():
        return _from_file(Path(path), base, autoencoder)
    if base is not None:
        raise ModelError(f"base: {path} is no single file and has its own configuration; leave --base out")
    return _from_folder(fetch(path, CONFIGURATION + WEIGHTS), autoencoder)


def load_autoencoder(folder: Path) -> Autoencoder:
    """Read an AutoencoderKL, AutoencoderTiny or AutoencoderDC. Raises ModelError for any other kind."""
    kind = _read_json(folder / "config.json").get("_class_name")
    if kind not in AUTOENCODERS:
        raise ModelError(f"{folder}: {kind} is not supported; give one of {', '.join(AUTOENCODERS)}")
    autoencoder: Autoencoder = _load_network(AUTOENCODERS[kind], folder)
    return autoencoder


def _from_folder(folder: Path, autoencoder: Autoencoder | None) -> Parts:
    is_xl = _check_kind(folder)
    return Parts(
        unet=_load_network(UNet2DConditionModel, folder / "unet"),
        vae=autoencoder or load_autoencoder(folder / "vae"),
        text_encoders=_load_text_encoders(folder, is_xl),
        tokenizers=tuple(_load_tokenizer(folder / name) for name in ("tokenizer", "tokenizer_2")[: 1 + is_xl]),
        scheduler=make_scheduler(_read_json(folder / "scheduler" / "scheduler_config.json")),
        vocabulary=Vocabulary.of(folder),
    )


def _load_text_encoders(folder: Path, is_xl: bool) -> tuple[CLIPTextModel, ...]:
    first = _load_network(CLIPTextModel, folder / "text_encoder")
    return (first, _load_network(CLIPTextModelWithProjection, folder / "text_encoder_2")) if is_xl else (first,)


def _from_file(path: Path, base: str | None, autoencoder: Autoencoder | None) -> Parts:
    """Read a checkpoint of the original layout. Without a base, diffusers asks the hub for the configuration."""
    refuse_pickle(path)
    given: dict[str, Any] = {"vae": autoencoder} if autoencoder else {}
    is_xl, has_text = _look_into(path)
    if base is not None:
        given |= _from_base(base, is_xl, has_text)
    left_out = dict.fromkeys(NEVER_USED[is_xl:])  # XL's pipeline has no safety checker
    kind = diffusers.StableDiffusionXLPipeline if is_xl else diffusers.StableDiffusionPipeline
    try:
        pipeline = kind.from_single_file(str(path), **left_out, **given)
    except (*READING, SingleFileComponentError) as error:
        cure = "give --base, the diffusers folder of a model of the same kind"
        raise ModelError(f"{path}: {first_line(error)}; {cure}") from error
    encoders, tokenizers = (
        tuple(getattr(pipeline, name + more) for more in ("", "_2")[: 1 + is_xl])
        for name in ("text_encoder", "tokenizer")
    )
    for part in (pipeline.unet, pipeline.vae, *encoders):
        _check_complete(path, [name for name, weight in part.named_parameters() if weight.is_meta])
    return Parts(pipeline.unet, pipeline.vae, encoders, tokenizers, pipeline.scheduler)


def _from_base(base: str, is_xl: bool, has_text: bool) -> dict[str, Any]:
    folder = fetch(base, CONFIGURATION + ([] if has_text else TEXT_WEIGHTS))
    if _check_kind(folder) != is_xl:
        raise ModelError(f"base: {base} is of another kind; give the diffusers folder of a model of the same kind")
    given: dict[str, Any] = {"config": str(folder), "local_files_only": True}
    if not has_text:
        given |= zip(("text_encoder", "text_encoder_2"), _load_text_encoders(folder, is_xl), strict=False)
    return given


def _look_into(path: Path) -> tuple[bool, bool]:
    """Whether a checkpoint is of Stable Diffusion XL, and whether its text encoders are in it."""
    try:
        with safe_open(path, "pt") as opened:
            names = list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a .safetensors file ({first_line(error)}); download it again") from error
    has_text = any(name.startswith(("cond_stage_model.", "conditioner.embedders.")) for name in names)
    return any(name.startswith(XL_ADDED) for name in names), has_text


def _check_kind(folder: Path) -> bool:
    """Whether a folder holds Stable Diffusion XL. Raises ModelError for what is neither that nor 1.x nor 2.x."""
    index = _read_json(folder / "model_index.json")
    kind = index.get("_class_name")
    if kind not in PIPELINES + XL_PIPELINES:
        raise ModelError(f"{folder}: {kind} is not supported; use a Stable Diffusion 1.x, 2.x or XL model")
    if index.get("text_encoder") == [None, None]:  # it reads with XL's second alone, and wants a score of beauty
        raise ModelError(f"{folder}: a refiner; use the model that it refines")
    return kind in XL_PIPELINES


def _load_network(kind: Any, folder: Path) -> Any:
    """Load weights of `kind` from its folder: safetensors alone, all of them, nothing from elsewhere."""
    variant = weights_variant(folder)
    try:
        network, info = kind.from_pretrained(
            folder, variant=variant, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except READING as error:
        raise ModelError(f"{folder}: {first_line(error)}; download the model again") from error
    _check_complete(folder, info["missing_keys"])
    return network


def _check_complete(path: Path, missing: Any) -> None:
    for name in sorted(missing):
        raise ModelError(f"{path}: its weights lack {name}; download the model again")


def _load_tokenizer(folder: Path) -> CLIPTokenizer:
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except READING as error:
        raise ModelError(f"{folder}: {first_line(error)}; download the model again") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: missing or no JSON; give the folder of a model in diffusers format") from error
    return value
