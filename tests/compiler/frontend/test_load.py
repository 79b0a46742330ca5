"""What a user may write as MODEL, and the one line that every wrong one gets."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compiler.frontend.load import load_model
from compiler.frontend.model import FrontendError, TensorSpec
from compiler.frontend.specs import NUMPY, examples, parse_spec, parse_specs
from tests.compiler.frontend.plain import run

FACTORY = """
import torch
def pair(): return torch.nn.Linear(4, 3), (torch.ones(2, 4),)
def alone(): return torch.nn.Linear(4, 3)
def number(): return 3
"""
MLIR = """func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {
  %c = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %d = arith.constant dense_resource<blob> : tensor<2xf32>
  %e = tensor.empty() : tensor<4xf32>
  %x = tensor.extract_slice %a[0] [2] [1] : tensor<4xf32> to tensor<2xf32>
  %b = linalg.add ins(%x, %d : tensor<2xf32>, tensor<2xf32>) outs(%x : tensor<2xf32>) -> tensor<2xf32>
  %f = tensor.insert_slice %b into %a[0] [2] [1] : tensor<2xf32> into tensor<4xf32>
  %g = linalg.add ins(%f, %c : tensor<4xf32>, tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %g : tensor<4xf32>
}
{-# dialect_resources: { builtin: { blob: "0x040000000000803F00000040" } } #-}
"""


def refused(spec: Any, *inputs: str) -> str:
    with pytest.raises(FrontendError) as caught:
        load_model(str(spec), inputs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def matches_eager(spec: Any, *inputs: str) -> None:
    loaded = load_model(str(spec), inputs)
    assert loaded.eager is not None
    for got, want in zip(
        run(loaded.imported, loaded.example_inputs), loaded.eager(*loaded.example_inputs), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@given(
    name=st.one_of(st.none(), st.from_regex(r"[a-z_][a-z0-9_.]{0,8}", fullmatch=True)),
    shape=st.lists(st.integers(1, 5000), max_size=5),
    dtype=st.sampled_from(sorted(NUMPY)),
)
def test_input_specs_round_trip(name: str | None, shape: list[int], dtype: str) -> None:
    spec = TensorSpec(name or "input0", tuple(shape), dtype)
    assert parse_spec(str(spec)) == spec
    assert parse_spec(str(spec).split("=")[1]).shape == spec.shape


@pytest.mark.parametrize("text", ["", "1x128", "x4xf32", "4x51f32", "1x0xf32", "-1x4xf32", "ids=", "1x2xf33"])
def test_wrong_input_specs_are_named(text: str) -> None:
    with pytest.raises(FrontendError, match=f"input spec {text!r}"):
        parse_spec(text)


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(FrontendError, match="'a' is given twice"):
        parse_specs(["a=1xf32", "a=2xf32"])


def test_example_inputs_are_repeatable_and_in_range() -> None:
    specs = parse_specs(["ids=2x50xi64", "attention_mask=2x50xi64", "x=3xf32"])
    first, again = examples(specs, 7), examples(specs, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert 0 <= first[0].min() <= first[0].max() <= 6
    assert first[1].all()


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"factory_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_factories(factory: str) -> None:
    assert load_model(f"{factory}:pair").imported.inputs == (TensorSpec("input", (2, 4), "f32"),)
    assert load_model(f"{factory}:alone", ["5x4xf32"]).imported.outputs[0].shape == (5, 3)
    assert "give --input" in refused(f"{factory}:alone")
    assert "no input 'y'; its inputs: input" in refused(f"{factory}:alone", "y=1x4xf32")
    assert "not a torch.nn.Module" in refused(f"{factory}:number")
    assert "pair?" in refused(f"{factory}:pare")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("zoo:berth", "did you mean bert"),
        ("bert", "did you mean zoo:bert?"),
        ("missing_module_x:f", "No module named"),
        ("weights.pth", "pickled models are not loaded"),
        ("absent.onnx", "no such file"),
        (".", "no config.json"),
    ],
)
def test_what_is_no_model_gets_one_line(spec: str, expected: str) -> None:
    assert expected in refused(spec)


def test_mlir_constants_become_weights(tmp_path: Path) -> None:
    path = tmp_path / "add.mlir"
    path.write_text(MLIR)
    imported = load_model(str(path)).imported
    assert sorted(w.tolist() for w in imported.weights.values()) == [[1, 2], [1, 2, 3, 4]]
    assert "dense" not in imported.text
    (out,) = run(imported, [np.zeros(4, np.float32)])
    assert out.tolist() == [2, 4, 3, 4]


def test_mlir_errors_give_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "bad.mlir"
    path.write_text("func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {\n  return %b : tensor<4xf32>\n}\n")
    assert f"{path}:2:10: use of undeclared SSA value name" in refused(path)
    path.write_text("func.func @main(%a: tensor<?xf32>) -> tensor<?xf32> {\n  return %a : tensor<?xf32>\n}\n")
    assert "shapes must be static" in refused(path)


class Biased(nn.Module):
    """A linear layer, a non-persistent buffer and a literal."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("shift", torch.arange(3.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.shift * torch.tensor([1.0, 2.0, 3.0])


@pytest.fixture
def pt2(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Biased(), (torch.ones(2, 4),)), path)
    return path


def rewritten(path: Path, name: str, change: Any) -> Path:
    """A copy of the archive with one record changed."""
    target = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for item in source.namelist():
            data = source.read(item)
            copy.writestr(item, change(data) if item.endswith(name) else data)
    return target


def test_pt2_loads_with_its_example_inputs(pt2: Path) -> None:
    assert load_model(str(pt2)).example_inputs[0].tolist() == np.ones((2, 4)).tolist()
    matches_eager(pt2)


def test_pt2_with_pickles_is_refused_before_torch_reads_it(pt2: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("run",)

    import io

    buffer = io.BytesIO()
    torch.save(((Evil(),), {}), buffer)
    assert "sample inputs" in refused(rewritten(pt2, "sample_inputs/model.pt", lambda _: buffer.getvalue()))
    pickled = rewritten(pt2, "weights_config.json", lambda d: d.replace(b'"use_pickle": false', b'"use_pickle": true'))
    assert "pickled" in refused(pickled)


def test_pt2_dynamic_or_truncated_is_refused(pt2: Path, tmp_path: Path) -> None:
    dynamic = tmp_path / "dynamic.pt2"
    shapes = ({0: torch.export.Dim("n", min=2)},)
    torch.export.save(torch.export.export(Biased(), (torch.ones(3, 4),), dynamic_shapes=shapes), dynamic)
    assert "dynamic shapes" in refused(dynamic)
    pt2.write_bytes(pt2.read_bytes()[:-300])
    assert "truncated" in refused(pt2)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    weights = {"w": np.arange(12, dtype=np.float32).reshape(3, 4) / 9, "b": np.array([1, 2, 3], np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1), helper.make_node("Relu", ["h"], ["y"])], "g",
        [helper.make_tensor_value_info("x", f32, ["n", 4])], [helper.make_tensor_value_info("y", f32, ["n", 3])],
        [onnx.numpy_helper.from_array(a, n) for n, a in weights.items()],
    )  # fmt: skip
    path = tmp_path / "gemm.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(path))
    return path


def test_onnx_weights_are_arguments(onnx_file: Path) -> None:
    imported = load_model(str(onnx_file), ["x=2x4xf32"]).imported
    assert imported.inputs == (TensorSpec("x", (2, 4), "f32"),)
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    (y,) = run(imported, [x])
    expected = np.maximum(x @ (np.arange(12).reshape(3, 4) / 9).T + [1, 2, 3], 0)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    assert "linalg.transpose" not in imported.text


def test_onnx_errors(onnx_file: Path) -> None:
    assert "input x has a dynamic shape: give --input x=" in refused(onnx_file)
    assert "rank 2, not 3" in refused(onnx_file, "x=1x2x4xf32")
    onnx_file.write_bytes(onnx_file.read_bytes()[:50])
    assert "not a readable ONNX model" in refused(onnx_file)


def test_hugging_face_folder(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path)
    matches_eager(tmp_path, "attention_mask=1x6xi64", "input_ids=1x6xi64")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert "pickled weights only" in refused(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    assert load_model(str(tmp_path)).imported.inputs == (TensorSpec("input_ids", (1, 128), "i64"),)
