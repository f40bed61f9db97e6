"""Random models: the published sizes, and folders that everything reads."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers.models.clip import CLIPTokenizer

from millstream.bench import random_model, systems
from millstream.models import load_model
from millstream.params import ModelConfig
from tests import tiny

TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
VAE = {
    "encoder_block_out_channels": (8,) * 4,
    "decoder_block_out_channels": (8,) * 4,
    "num_encoder_blocks": (1,) * 4,
    "num_decoder_blocks": (1,) * 4,
}


def shrunk(name: str) -> random_model.Form:
    if name == "sdxl-turbo":
        unet, texts = tiny.UNET | tiny.SDXL, [TEXT, TEXT | {"hidden_size": 40, "projection_dim": 24}]
    else:
        unet, texts = tiny.UNET, [TEXT]
    return replace(random_model.FORMS[name], unet=unet, texts=texts, vae=VAE)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("sd15", (859_520_964, 2_445_063, 123_060_480)),
        ("sd-turbo", (865_910_724, 2_445_063, 340_387_840)),
        ("sdxl-turbo", (2_567_463_684, 2_445_063, 123_060_480, 694_659_840)),
    ],
)
def test_the_networks_have_as_many_weights_as_the_published_ones(name: str, sizes: tuple[int, ...]):
    with torch.device("meta"):
        networks = random_model.FORMS[name].networks()
    assert tuple(sum(weight.numel() for weight in network.parameters()) for network in networks) == sizes


@pytest.mark.parametrize(("name", "rule"), [("sd15", "lcm"), ("sd-turbo", "turbo"), ("sdxl-turbo", "turbo")])
def test_the_engine_and_diffusers_read_the_folder(name: str, rule: str):
    with random_model.folder(shrunk(name)) as folder:
        model = load_model(ModelConfig(name=str(folder)))
        assert (model.rule, model.width, model.factor, model.channels) == (rule, 32, 8, 4)
        assert systems.load_pipeline(str(folder), model).vae.config.latent_channels == 4
    assert not folder.exists()


def test_weights_are_random_and_always_the_same():
    prints = []
    for _ in range(2):
        with random_model.folder(shrunk("sd15")) as folder:
            prints.append(load_model(ModelConfig(name=str(folder))).fingerprint)
    assert prints[0] == prints[1]


def test_the_tokenizer_knows_every_byte(tmp_path: Path):
    words = random_model.tokenizer()
    words.backend_tokenizer.model.save(str(tmp_path))
    expected = CLIPTokenizer(vocab=tiny.vocabulary(), merges=[], model_max_length=77)
    text = "ink drawing, Ünïcode ✓ \x07"
    assert words(text)["input_ids"] == expected(text)["input_ids"]
    assert words.unk_token_id not in words(text)["input_ids"][:-1]
    assert {path.name for path in tmp_path.iterdir()} == {"vocab.json", "merges.txt"}
