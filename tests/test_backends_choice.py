"""Which back end is taken, and what is said where the one that is named cannot run."""

import platform
import sys

import pytest
import torch

from millstream.backends import choice, inductor, openvino
from millstream.backends.choice import choose, fastest
from millstream.backends.openvino import precisions
from millstream.cli import main
from millstream.engine import Engine
from millstream.errors import ModelError
from millstream.models import load_model
from millstream.params import ModelConfig, Params, StreamConfig
from tests import tiny
from tests.backends import TINY, load

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


@pytest.fixture
def unnamed(monkeypatch):
    monkeypatch.delenv("MILLSTREAM_BACKEND")


@pytest.mark.usefixtures("unnamed")
def test_auto_takes_the_fastest_of_the_device():
    assert fastest(CPU, torch.float32) == "openvino"
    assert fastest(CUDA, torch.float16) == "cudagraph"
    assert fastest(MPS, torch.float16) == "eager"
    assert fastest(CPU, torch.bfloat16) == "eager"  # weights that openvino does not take
    assert choose("auto", "auto", CPU, torch.float32) == choose("openvino", precisions()[-1], CPU, torch.float32)


@pytest.mark.usefixtures("unnamed")
def test_auto_is_eager_where_the_package_is_not_there(monkeypatch):
    monkeypatch.setattr(openvino, "find_spec", lambda name: None)
    assert choose("auto", "auto", CPU, torch.float32).name == "eager"


def test_what_auto_is_can_be_named_once_for_all(monkeypatch):
    assert choose("auto", "auto", CPU, torch.float32).name == "eager"  # as the tests have it
    monkeypatch.setenv("MILLSTREAM_BACKEND", "tensorflow")
    with pytest.raises(ModelError, match="MILLSTREAM_BACKEND=tensorflow: unknown; use one of eager, "):
        choose("auto", "auto", CPU, torch.float32)


def refusal(*given):
    with pytest.raises(ModelError) as refused:
        choose(*given)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_integers_are_openvinos():
    assert choose("openvino", "int8", CPU, torch.float32).precision == "int8"
    assert refusal("eager", "int8", CPU, torch.float32).endswith("own numbers; use --backend openvino")


@pytest.mark.usefixtures("unnamed")
@pytest.mark.parametrize(
    ("can", "integers"),
    [
        ({"avx512_vnni": True, "amx_tile": False}, True),
        ({"avx_vnni": True}, True),
        ({"avx512_vnni": True, "avx_vnni": True, "amx_tile": True}, False),  # bfloat16 is as fast there
        ({"avx2": True}, False),
        ({"bf16": True, "i8mm": True}, False),  # ARM, where it was never measured
    ],
)
def test_auto_takes_integers_where_they_are_faster_and_the_model_was_judged_in_them(monkeypatch, can, integers):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    usual = precisions()[-1]
    assert choose("auto", "auto", CPU, torch.float32, judged=True).precision == ("int8" if integers else usual)
    assert choose("auto", "auto", CPU, torch.float32).precision == usual
    assert choose("auto", usual, CPU, torch.float32, judged=True).precision == usual
    assert choose("eager", "auto", CPU, torch.float32, judged=True).precision == "float32"
    assert choose("inductor", "auto", CPU, torch.float32, judged=True).precision == "float32"
    assert choose("auto", "auto", CUDA, torch.float16, judged=True).name == "cudagraph"


def test_only_the_embedded_model_was_judged():
    assert load_model(ModelConfig(device="cpu")).judged
    assert not load(tiny.small()).judged


def test_a_package_that_is_missing_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(openvino, "find_spec", lambda name: None)
    message = refusal("openvino", "auto", CPU, torch.float32)
    assert message == f"backend openvino: is not installed; {sys.executable} -m pip install openvino"


def test_a_processor_it_is_not_made_for(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "riscv64; use --backend eager" in refusal("openvino", "auto", CPU, torch.float32)


def test_openvino_is_for_processors_and_weights_in_float32():
    assert "--device cpu" in refusal("openvino", "auto", CUDA, torch.float32)
    assert "leave --dtype out" in refusal("openvino", "auto", CPU, torch.bfloat16)


def test_inductor_needs_its_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    assert "install g++" in refusal("inductor", "auto", CPU, torch.float32)
    for there, cure in ((None, "pip install triton"), (True, "install gcc")):
        monkeypatch.setattr(inductor, "find_spec", lambda name, there=there: there)
        assert cure in refusal("inductor", "auto", CUDA, torch.float16)
    assert "--backend eager" in refusal("inductor", "auto", MPS, torch.float16)


def test_precisions_that_are_not_to_be_had():
    assert "precision float16: openvino has float32" in refusal("openvino", "float16", CPU, torch.float32)
    assert "leave --backend out" in refusal("cudagraph", "auto", CPU, torch.float32)
    for name in ("eager", "inductor"):
        assert refusal(name, "bfloat16", CPU, torch.float32).endswith("own numbers; use --dtype bfloat16")
        assert choose(name, "float32", CPU, torch.float32).precision == "float32"


def test_openvino_takes_what_the_processor_has(monkeypatch):
    monkeypatch.setattr(openvino, "precisions", lambda: ["float32"])
    assert choose("openvino", "auto", CPU, torch.float32).precision == "float32"
    assert "openvino has float32 and int8 on this processor" in refusal("openvino", "bfloat16", CPU, torch.float32)


def test_a_stream_says_what_was_chosen():
    session = Engine(load(tiny.small())).open(StreamConfig(**TINY, backend="openvino", precision="float32"), Params())
    assert (session.config.backend, session.config.precision) == ("openvino", "float32")
    session = Engine(load(tiny.small())).open(StreamConfig(**TINY), Params())
    assert (session.config.backend, session.config.precision) == ("eager", "float32")


def test_the_command_line_names_it(capsys, tmp_path):
    words = ["txt2img", str(tmp_path / "out.png"), "--model", str(tiny.small()), "--width", "32", "--height", "32"]
    assert main([*words, "--backend", "openvino", "--precision", "float32", "--json"]) == 0
    assert '"backend": "openvino", "precision": "float32"' in capsys.readouterr().out
    assert main([*words, "--backend", "openvino", "--dtype", "bfloat16"]) == 3
    assert capsys.readouterr().err.startswith("millstream: backend openvino: takes weights in float32;")


def test_every_name_of_the_schema_is_known():
    names = set(StreamConfig.model_fields["backend"].annotation.__args__)
    assert names == {"auto", "eager", *choice.KINDS}
