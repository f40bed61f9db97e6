from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from millstream.errors import ModelError
from millstream.models import Model, load_model
from millstream.models.lora import is_lcm
from millstream.params import Lora, ModelConfig
from tests import tiny

BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
UNET = [
    f"{BLOCK}.attn1.to_q",
    f"{BLOCK}.attn2.to_k",
    f"{BLOCK}.attn2.to_v",
    f"{BLOCK}.attn1.to_out.0",
    f"{BLOCK}.ff.net.0.proj",
    f"{BLOCK}.ff.net.2",
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.resnets.0.time_emb_proj",
    "down_blocks.0.downsamplers.0.conv",
    "up_blocks.1.resnets.0.conv_shortcut",
]
XL = "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q"
STYLE = [name for name in UNET if "attn" in name]
TEXT = [f"encoder.layers.0.{name}" for name in ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")]
RANK = 4

Pairs = dict[tuple[str, str], tuple[Tensor, Tensor]]


def load(name: Path | None = None, **config: Any) -> Model:
    return load_model(ModelConfig(name=str(name or tiny.sd1()), device="cpu", **config))


def layer(model: Model, part: str, name: str) -> nn.Module:
    texts = zip(("text_encoder", "text_encoder_2"), model.conditioner.networks.reader.children(), strict=False)
    return {"unet": model.denoiser.unet, **dict(texts)}[part].get_submodule(name)


def pairs(unet: list[str], text: list[str], rank: int = RANK, seed: int = 0) -> Pairs:
    """Down and up of each layer, of the layer's form."""
    model, generator = load(), torch.Generator().manual_seed(seed)
    found: Pairs = {}
    for part, name in [*(("unet", name) for name in unet), *(("text_encoder", name) for name in text)]:
        out, *form = layer(model, part, name).weight.shape
        down = torch.randn(rank, *form, generator=generator)
        found[part, name] = down, torch.randn(out, rank, *[1] * (len(form) - 1), generator=generator)
    return found


def kohya(adapter: Pairs, alphas: dict[tuple[str, str], float], te: str = "lora_te_text_model_") -> dict[str, Tensor]:
    prefix = {"unet": "lora_unet_", "text_encoder": te, "text_encoder_2": "lora_te2_"}
    weights: dict[str, Tensor] = {}
    for (part, name), (down, up) in adapter.items():
        key = prefix[part] + name.replace(".", "_")
        weights |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        if (part, name) in alphas:
            weights[f"{key}.alpha"] = torch.tensor(alphas[part, name])
    return weights


def peft(adapter: Pairs) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for (part, name), (down, up) in adapter.items():
        weights |= {f"{part}.{name}.lora_A.weight": down, f"{part}.{name}.lora_B.weight": up}
    return weights


def write(path: Path, weights: dict[str, Tensor], **metadata: str) -> str:
    save_file({name: value.clone() for name, value in weights.items()}, path, metadata={"format": "pt"} | metadata)
    return str(path)


def assert_fused(model: Model, adapter: Pairs, factors: dict[tuple[str, str], float]) -> None:
    """W + factor * up @ down, in every layer trained, and nothing else touched."""
    plain = load()
    for (part, name), (down, up) in adapter.items():
        change = (factors[part, name] * up.flatten(1) @ down.flatten(1)).view_as(layer(plain, part, name).weight)
        expected = layer(plain, part, name).weight + change
        torch.testing.assert_close(layer(model, part, name).weight, expected, atol=2e-6, rtol=1e-6)
    trained = {f"{name}.weight" for part, name in adapter if part == "unet"}
    before = plain.denoiser.unet.state_dict()
    after = model.denoiser.unet.state_dict()
    assert list(before) == list(after)
    assert {name for name in before if not torch.equal(before[name], after[name])} == trained


@pytest.mark.parametrize("scale", [1.0, 0.5, -0.7])
def test_kohya_with_an_alpha_of_its_own_in_every_layer(tmp_path: Path, scale: float) -> None:
    adapter = pairs(UNET, TEXT)
    alphas = {key: 1.0 + i for i, key in enumerate(adapter)}
    file = write(tmp_path / "style.safetensors", kohya(adapter, alphas))
    model = load(lora=(Lora(path=file, scale=scale),))
    assert_fused(model, adapter, {key: scale * alpha / RANK for key, alpha in alphas.items()})


def test_kohya_with_ranks_that_differ(tmp_path: Path) -> None:
    adapter = pairs(UNET[::2], TEXT, rank=2) | pairs(UNET[1::2], [], rank=6)
    file = write(tmp_path / "style.safetensors", kohya(adapter, dict.fromkeys(adapter, 3.0)))
    assert_fused(load(lora=(file,)), adapter, {key: 3 / len(down) for key, (down, _) in adapter.items()})


def test_kohya_without_alpha(tmp_path: Path) -> None:
    adapter = pairs(UNET, TEXT, rank=3)
    file = write(tmp_path / "style.safetensors", kohya(adapter, {}))
    assert_fused(load(lora=(file,)), adapter, dict.fromkeys(adapter, 1.0))


@pytest.mark.parametrize("write_as", ["kohya", "peft"])
def test_both_text_encoders_of_xl(tmp_path: Path, write_as: str) -> None:
    plain, generator, adapter = load(tiny.sdxl_turbo()), torch.Generator().manual_seed(0), {}
    second = [f"text_model.{name}" for name in TEXT]
    parts = {"unet": [XL], "text_encoder": TEXT, "text_encoder_2": second}
    for part, name in [(part, name) for part, names in parts.items() for name in names]:
        out, width = layer(plain, part, name).weight.shape
        adapter[part, name] = torch.randn(RANK, width, generator=generator), torch.randn(out, RANK, generator=generator)
    weights = peft(adapter) if write_as == "peft" else kohya(adapter, {}, te="lora_te1_text_model_")
    model = load(tiny.sdxl_turbo(), lora=(write(tmp_path / "style.safetensors", weights),))
    for (part, name), (down, up) in adapter.items():
        change = layer(model, part, name).weight - layer(plain, part, name).weight
        torch.testing.assert_close(change, up @ down, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("text", [[], TEXT])
def test_peft(tmp_path: Path, text: list[str]) -> None:
    adapter = pairs(UNET, text)
    file = write(tmp_path / "style.safetensors", peft(adapter))
    assert_fused(load(lora=(f"{file}::0.25",)), adapter, dict.fromkeys(adapter, 0.25))


def test_peft_with_alpha_in_the_metadata(tmp_path: Path) -> None:
    adapter = pairs(STYLE, [])
    weights = {f"{name}.lora_{'AB'[i]}.weight": pair[i] for (_, name), pair in adapter.items() for i in (0, 1)}
    config = LoraConfig(r=RANK, lora_alpha=2, target_modules=STYLE).to_dict()
    StableDiffusionPipeline.save_lora_weights(tmp_path, weights, unet_lora_adapter_metadata=config)
    assert_fused(load(lora=(str(tmp_path),)), adapter, dict.fromkeys(adapter, 0.5))


def test_two_adapters_add_up(tmp_path: Path) -> None:
    one, two = pairs(STYLE, TEXT, seed=1), pairs(STYLE, TEXT, seed=2)
    files = [write(tmp_path / f"{i}.safetensors", peft(each)) for i, each in enumerate((one, two))]
    both = {key: (torch.cat([one[key][0], two[key][0]]), torch.cat([one[key][1], 0.5 * two[key][1]], 1)) for key in one}
    assert_fused(load(lora=(files[0], f"{files[1]}::0.5")), both, dict.fromkeys(both, 1.0))


def test_an_adapter_in_half_precision_model_is_fused_in_full(tmp_path: Path) -> None:
    adapter = pairs(UNET, [])
    file = write(tmp_path / "style.safetensors", peft(adapter))
    full, half = load(lora=(file,)), load(lora=(file,), dtype="bfloat16")
    for name in UNET:
        expected = layer(full, "unet", name).weight.bfloat16()
        assert torch.equal(layer(half, "unet", name).weight, expected)


@pytest.mark.parametrize(
    ("name", "trains", "metadata", "lcm"),
    [
        ("style", STYLE, {}, False),
        ("lcm-lora-sdv1-5", STYLE, {}, True),
        ("Style_LCM.safetensors", STYLE, {"ss_network_dim": "4"}, True),
        ("style", STYLE, {"ss_output_name": "my-LCM"}, True),
        ("style", STYLE, {"modelspec.title": "an lcm"}, True),
        ("pytorch_lora_weights.safetensors", UNET, {}, True),
        ("pytorch_lora_weights.safetensors", UNET, {"ss_network_dim": "4"}, False),
        ("pytorch_lora_weights.safetensors", [*UNET, "text"], {}, False),
    ],
)
@pytest.mark.parametrize("form", [kohya, peft])
def test_an_lcm_lora_is_recognised(name: str, trains: list[str], metadata, lcm: bool, form) -> None:
    adapter = pairs([key for key in trains if key != "text"], TEXT if "text" in trains else [])
    weights = form(adapter, {}) if form is kohya else form(adapter)
    assert is_lcm(name, weights, metadata) is lcm


def test_an_lcm_lora_makes_the_model_a_consistency_model(tmp_path: Path) -> None:
    lcm = write(tmp_path / "pytorch_lora_weights.safetensors", kohya(pairs(UNET, []), {}))
    style = write(tmp_path / "style.safetensors", kohya(pairs(STYLE, TEXT), {}))
    assert load().rule == "ode"
    assert load(lora=(style,)).rule == "ode"
    assert load(lora=(lcm, style)).rule == load(lora=(style, lcm)).rule == "lcm"


def broken(kind: str) -> dict[str, Tensor]:
    """Adapters of other models, and files that are none."""
    down, up = torch.randn(RANK, 99), torch.randn(99, RANK)
    right = peft(pairs(STYLE, []))
    key = f"unet.{STYLE[0]}"
    return {
        "another width": {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up},
        "unknown layer": {"unet.nowhere.lora_A.weight": down, "unet.nowhere.lora_B.weight": up},
        "one layer unknown": right | {"unet.nowhere.lora_A.weight": down, "unet.nowhere.lora_B.weight": up},
        "kohya, unknown layer": {"lora_unet_x.lora_down.weight": down, "lora_unet_x.lora_up.weight": up},
        "of a transformer": {"transformer.a.lora_A.weight": down, "transformer.a.lora_B.weight": up},
        "half a pair": {name: value for name, value in right.items() if "lora_A" in name},
        "no adapter": {"weight": down},
        "not a number": {name: value * float("nan") for name, value in right.items()},
        "nothing": {},
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "another width",
        "unknown layer",
        "one layer unknown",
        "kohya, unknown layer",
        "of a transformer",
        "half a pair",
        "no adapter",
        "not a number",
        "nothing",
    ],
)
def test_an_adapter_of_another_model_is_refused(tmp_path: Path, kind: str) -> None:
    file = write(tmp_path / "other.safetensors", broken(kind))
    with pytest.raises(ModelError, match=r"^lora .*other\.safetensors: .+; use one made for this model") as fault:
        load(lora=(file,))
    assert "\n" not in str(fault.value)


def test_a_broken_or_missing_adapter_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.safetensors"
    file.write_bytes(b"not an adapter")
    with pytest.raises(ModelError, match=r"lora .*broken\.safetensors"):
        load(lora=(str(file),))
    with pytest.raises(ModelError, match="no such file or folder"):
        load(lora=(str(tmp_path / "nowhere"),))
    (tmp_path / "another.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="give the file itself"):
        load(lora=(str(tmp_path),))
