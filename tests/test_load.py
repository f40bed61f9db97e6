import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from millstream import embedded
from millstream.core.schedule import NoiseSchedule
from millstream.errors import ModelError
from millstream.models import Model, load_model
from millstream.models.schedule import make_scheduler, noise_schedule, recognise_rule
from millstream.params import ModelConfig, WeightedPrompt
from tests import checkpoint, tiny

DIFFUSION = [tiny.sd1, tiny.sd_turbo, tiny.sd2_v, tiny.lcm, tiny.small]


def load(name: Path | str, **config: Any) -> Model:
    return load_model(ModelConfig(name=str(name), device="cpu", **config))


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.name))


def change_json(path: Path, **values: Any) -> None:
    tiny.write_json(path, json.loads(path.read_text(encoding="utf-8")) | values)


def outputs(model: Model) -> list[Tensor]:
    """One number of everything a model does."""
    generator = torch.Generator().manual_seed(0)
    cond = model.condition((WeightedPrompt(text="a cat"),), 2.0)
    pixels = torch.randint(0, 256, (1, model.height, model.width, 3), dtype=torch.uint8, generator=generator)
    x = torch.randn(1, model.channels, 4, 4, generator=generator)
    return [model.encode(pixels), model.denoise(x, torch.tensor([500.0]), cond), cond["prompt"]]


def refused(name: Path | str, match: str, **config: Any) -> None:
    with pytest.raises(ModelError, match=match) as fault:
        load(name, **config)
    assert "\n" not in str(fault.value)


# What the files say


@pytest.mark.parametrize(
    ("make", "rule", "prediction", "channels", "factor", "multiple", "side"),
    [
        (tiny.sd1, "ode", "epsilon", 4, 8, 16, 32),
        (tiny.sd_turbo, "turbo", "epsilon", 4, 8, 16, 32),
        (tiny.sd2_v, "ode", "v_prediction", 4, 8, 16, 32),
        (tiny.sdxl_turbo, "turbo", "epsilon", 4, 8, 16, 32),
        (tiny.lcm, "lcm", "epsilon", 4, 8, 16, 32),
        (tiny.small, "lcm", "sample", 6, 4, 8, 32),
    ],
)
def test_what_a_model_is_is_read_from_its_files(make, rule, prediction, channels, factor, multiple, side) -> None:
    model = load(make())
    assert (model.rule, model.schedule.prediction) == (rule, prediction)
    assert (model.channels, model.factor, model.multiple) == (channels, factor, multiple)
    assert (model.width, model.height) == (side, side)
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)


def test_a_sample_size_may_have_two_sides(tmp_path: Path) -> None:
    folder = copy(tiny.sd1(), tmp_path)
    change_json(folder / "unet" / "config.json", sample_size=[4, 6])
    model = load(folder)
    assert (model.width, model.height) == (48, 32)


@pytest.mark.parametrize("make", DIFFUSION)
def test_schedule_is_the_scheduler_s(make) -> None:
    config = json.loads((make() / "scheduler" / "scheduler_config.json").read_text())
    alphas = getattr(diffusers, config["_class_name"]).from_config(config).alphas_cumprod.double()
    schedule = load(make()).schedule
    torch.testing.assert_close(schedule.a**2, alphas, atol=1e-12, rtol=0)
    torch.testing.assert_close(schedule.b**2, 1 - alphas, atol=1e-12, rtol=0)
    assert schedule.time.tolist() == list(range(1000))


def test_zero_terminal_snr_reaches_pure_noise() -> None:
    schedule = load(tiny.sd2_v()).schedule
    assert schedule.a[-1] == 0
    assert schedule.b[-1] == 1


@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("kind", ["DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_betas_of_every_kind(kind: str, betas: str, zero_snr: bool) -> None:
    scheduler = make_scheduler({"_class_name": kind, "beta_schedule": betas, "rescale_betas_zero_snr": zero_snr})
    torch.testing.assert_close(noise_schedule(scheduler).a ** 2, scheduler.alphas_cumprod.double())


def test_trained_betas() -> None:
    betas = torch.linspace(0.001, 0.02, 10).numpy()
    scheduler = make_scheduler({"_class_name": "DDIMScheduler", "trained_betas": betas, "num_train_timesteps": 10})
    torch.testing.assert_close(noise_schedule(scheduler).a ** 2, torch.from_numpy(1 - betas).cumprod(0).double())


def test_flow_match() -> None:
    scheduler = make_scheduler({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    schedule = noise_schedule(scheduler)
    assert schedule.prediction == "flow"
    torch.testing.assert_close(schedule.b.flip(0).float(), scheduler.sigmas)
    torch.testing.assert_close(schedule.time.flip(0).float(), scheduler.timesteps)
    assert isinstance(schedule, NoiseSchedule)


@pytest.mark.parametrize(
    ("config", "distilled", "rule"),
    [
        (tiny.TURBO, False, "turbo"),
        (tiny.TURBO | {"_class_name": "EulerAncestralDiscreteScheduler"}, False, "turbo"),
        (tiny.TURBO, True, "lcm"),
        (tiny.TURBO | {"timestep_spacing": "leading"}, False, "ode"),
        (tiny.TURBO | {"rescale_betas_zero_snr": True}, False, "ode"),
        (tiny.ZERO_SNR, False, "ode"),
        (tiny.LCM, False, "lcm"),
        (tiny.PNDM, True, "lcm"),
    ],
)
def test_rule(config: dict[str, Any], distilled: bool, rule: str) -> None:
    assert recognise_rule(make_scheduler(config), distilled) == rule


# Where the files come from


def test_the_embedded_model_is_loaded_by_the_same_path() -> None:
    for ours, theirs in zip(outputs(load("embedded")), outputs(load(embedded.path())), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize(
    ("make", "rule", "other"), [(tiny.sd1, "ode", tiny.sdxl_turbo), (tiny.sdxl_turbo, "turbo", tiny.sd1)]
)
def test_a_single_file_is_the_model_of_its_folder(tmp_path: Path, make: Any, rule: str, other: Any, text: bool) -> None:
    file = checkpoint.write(make(), tmp_path / "model.safetensors", text)
    model = load(file, base=str(make()))
    assert model.rule == rule
    for ours, theirs in zip(outputs(model), outputs(load(make())), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    refused(file, "of another kind", base=str(other()))


def test_a_refiner_is_refused_by_name(tmp_path: Path) -> None:
    folder = copy(tiny.sdxl_turbo(), tmp_path)
    change_json(folder / "model_index.json", text_encoder=[None, None])
    refused(folder, "a refiner; use the model that it refines")


def test_a_single_file_may_lack_the_autoencoder_that_is_given(tmp_path: Path) -> None:
    file = checkpoint.write(tiny.sd1(), tmp_path / "model.safetensors")
    save_file({k: v for k, v in load_file(file).items() if "first_stage" not in k}, file)
    vae = tmp_path / "vae"
    tiny.autoencoder_tiny().save_pretrained(vae)
    assert isinstance(load(file, base=str(tiny.sd1()), vae=str(vae)).codec.vae, diffusers.AutoencoderTiny)
    refused(file, "--base", base=str(tiny.sd1()))


def test_a_single_file_without_a_base_needs_the_hub(tmp_path: Path, offline: None) -> None:
    refused(checkpoint.write(tiny.sd1(), tmp_path / "model.safetensors"), "--base")


def test_a_base_for_a_folder_is_refused() -> None:
    refused(tiny.sd1(), "leave --base out", base=str(tiny.sd2_v()))


def test_a_single_file_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    file = checkpoint.write(tiny.sd1(), tmp_path / "model.safetensors")
    weights = load_file(file)
    del weights["model.diffusion_model.input_blocks.1.0.in_layers.0.weight"]
    save_file(weights, file)
    refused(file, r"model\.safetensors: ", base=str(tiny.sd1()))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 64])
def test_a_broken_single_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    refused(file, "model.safetensors: not a .safetensors file", base=str(tiny.sd1()))
    refused(file, "model.safetensors", base=None)


def test_files_as_the_originals_were_saved(tmp_path: Path) -> None:
    """SD 1.5's text encoder carries a prefix and positions that later transformers no longer write."""
    folder = copy(tiny.sd1(), tmp_path)
    file = folder / "text_encoder" / "model.safetensors"
    weights = {f"text_model.{name}": value for name, value in load_file(file).items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, file, metadata={"format": "pt"})
    assert torch.equal(outputs(load(folder))[2], outputs(load(tiny.sd1()))[2])


def test_weights_in_half_precision_alone(tmp_path: Path) -> None:
    folder = copy(tiny.sd1(), tmp_path)
    for file in folder.glob("*/*.safetensors"):
        half = {name: value.half() for name, value in load_file(file).items()}
        save_file(half, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
        file.unlink()
    model = load(folder)
    assert model.dtype == torch.float32
    for ours, theirs in zip(outputs(model), outputs(load(tiny.sd1())), strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-2, rtol=0)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("field", ["name", "vae", "lora"])
def test_a_hub_id_that_cannot_be_reached(offline: None, field: str) -> None:
    config = {"name": tiny.sd1()} | {field: ("someone/no-such-model",) if field == "lora" else "someone/no-such-model"}
    refused(**config, match="someone/no-such-model: .*hub does not give it.*give its folder")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "nowhere"])
def test_a_folder_that_is_not_there(name: str) -> None:
    refused(name, "no such file or folder; give")


def test_a_hub_model_in_the_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--someone--sd"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(tiny.sd1(), repository / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert torch.equal(outputs(load("someone/sd"))[1], outputs(load(tiny.sd1()))[1])


# What is refused


@pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".pt", ".pth"])
def test_pickles_are_never_read(tmp_path: Path, suffix: str) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    file = tmp_path / f"model{suffix}"
    torch.save(Trap(), file)
    folder = copy(tiny.sd1(), tmp_path)
    for part in ("unet", "vae", "text_encoder"):
        broken = copy(folder, tmp_path / part)
        for weights in (broken / part).glob("*.safetensors"):
            shutil.copy(file, weights.with_suffix(suffix))
            weights.unlink()
        refused(broken, "pickle")
    refused(file, "pickle")
    refused(folder, "pickle", lora=(str(file),))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "lost",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "text_encoder/config.json",
        "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_folder_that_lacks_a_file(tmp_path: Path, lost: str) -> None:
    folder = copy(tiny.sd1(), tmp_path)
    (folder / lost).unlink()
    refused(folder, str(folder))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_cut_short_or_lack_a_tensor(tmp_path: Path, part: str) -> None:
    folder = copy(tiny.sd1(), tmp_path)
    file = next((folder / part).glob("*.safetensors"))
    weights = load_file(file)
    lost = sorted(weights)[-1]
    save_file({name: value for name, value in weights.items() if name != lost}, file, metadata={"format": "pt"})
    refused(folder, f"{part}: its weights lack {lost}")
    file.write_bytes(file.read_bytes()[:-100])
    refused(folder, part)
    save_file(weights | {lost: torch.zeros(3, 3)}, file, metadata={"format": "pt"})
    refused(folder, part)


@pytest.mark.parametrize("kind", ["StableDiffusion3Pipeline", "FluxPipeline", ["my_pipeline", "Mine"], None])
def test_other_pipelines_are_refused_by_name(tmp_path: Path, kind: Any) -> None:
    folder = copy(tiny.sd1(), tmp_path)
    change_json(folder / "model_index.json", _class_name=kind)
    refused(folder, "is not supported; use a Stable Diffusion")


def test_code_of_a_model_is_never_run(tmp_path: Path) -> None:
    folder = copy(tiny.sd1(), tmp_path)
    (folder / "unet" / "mine.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    change_json(folder / "model_index.json", unet=["mine", "Mine"])
    load(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["NoSuchScheduler", "UNet2DConditionModel", "__version__", None])
def test_an_unknown_scheduler(tmp_path: Path, name: str | None) -> None:
    folder = copy(tiny.sd1(), tmp_path)
    change_json(folder / "scheduler" / "scheduler_config.json", _class_name=name)
    refused(folder, "scheduler")


@pytest.mark.parametrize("config", [{"_class_name": "EDMEulerScheduler"}, tiny.PNDM | {"prediction_type": "odd"}])
def test_a_scheduler_whose_levels_are_unknown(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="cannot read noise levels"):
        noise_schedule(make_scheduler(config))


def test_a_unet_without_a_sample_size(tmp_path: Path) -> None:
    folder = copy(tiny.sd1(), tmp_path)
    change_json(folder / "unet" / "config.json", sample_size=None)
    refused(folder, "sample_size")


def test_an_inpainting_model(tmp_path: Path) -> None:
    parts = tiny.unet(in_channels=9), tiny.autoencoder_kl(), tiny.text_encoder()
    refused(tiny.make("inpainting", *parts, tiny.PNDM, tmp_path), "takes 9 channels and the autoencoder gives 4")


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cuda:-1", ""])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ModelError, match=r"not on this machine, which has .*cpu"):
        load_model(ModelConfig(name=str(tiny.sd1()), device=device))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_numbers(dtype: str) -> None:
    model = load(tiny.sd1(), dtype=dtype)
    latents, prediction, prompt = outputs(model)
    assert latents.dtype == torch.float32
    assert prediction.dtype == prompt.dtype == model.dtype == getattr(torch, dtype)
    for ours, theirs in zip((latents, prediction, prompt), outputs(load(tiny.sd1())), strict=True):
        torch.testing.assert_close(ours.float(), theirs, atol=0.15, rtol=0)


def test_nothing_needs_gradients_and_nothing_is_random() -> None:
    model = load(tiny.sd1())
    assert not any(value.requires_grad for value in outputs(model))
    assert not model.denoiser.training
    for first, second in zip(outputs(model), outputs(model), strict=True):
        assert torch.equal(first, second)


def test_the_libraries_are_left_as_they_were() -> None:
    log = diffusers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    load(tiny.sd1())
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before


# An autoencoder in place of the model's own


def test_another_autoencoder(tmp_path: Path) -> None:
    vae = tiny.autoencoder_tiny(channels=4, levels=3)
    vae.save_pretrained(tmp_path / "tiny")
    model = load(tiny.sd1(), vae=str(tmp_path / "tiny"))
    assert (model.factor, model.multiple, model.width) == (4, 8, 16)
    pixels = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    expected = vae.encode(torch.full((1, 3, 16, 16), -1.0)).latents
    torch.testing.assert_close(model.encode(pixels), expected.detach())


def test_another_autoencoder_of_other_channels(tmp_path: Path) -> None:
    tiny.autoencoder_tiny(channels=8).save_pretrained(tmp_path)
    refused(tiny.sd1(), "takes 4 channels and the autoencoder gives 8", vae=str(tmp_path))


def test_another_autoencoder_that_is_none(tmp_path: Path) -> None:
    refused(tiny.sd1(), "UNet2DConditionModel is not supported", vae=str(tiny.sd1() / "unet"))
    refused(tiny.sd1(), "missing or no JSON", vae=str(tmp_path))


def test_a_model_is_frozen() -> None:
    with pytest.raises(AttributeError):
        load(tiny.sd1()).rule = "lcm"  # type: ignore[misc]
    assert replace(load(tiny.sd1()), name="other").name == "other"
