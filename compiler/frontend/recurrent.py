"""LSTM layers as loops: the input projection is one matmul, the time steps one `scf.for` in a function of their own."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compiler.frontend.graph import Call, Node, WeightGraph, aten, each
from compiler.frontend.model import FrontendError


@torch.library.custom_op("seerc::lstm_steps", mutates_args=())
def lstm_steps(projected: Tensor, weight: Tensor, h: Tensor, c: Tensor, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """All time steps of one LSTM layer.

    projected [T, B, 4H] holds W_ih x + both biases (gates in torch's order i, f, g, o), weight [H, 4H] is W_hh
    transposed, h and c [B, H]. Returns (every h [T, B, H], last h, last c); `reverse` runs from the last step.
    """
    steps = range(projected.shape[0])
    hidden = projected.new_empty(*projected.shape[:2], h.shape[1])
    h, c = h.clone(), c.clone()
    for t in reversed(steps) if reverse else steps:
        i, f, g, o = (projected[t] + h @ weight).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        hidden[t] = h
    return hidden, h, c


@lstm_steps.register_fake
def _(projected: Tensor, weight: Tensor, h: Tensor, c: Tensor, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    return projected.new_empty(*projected.shape[:2], h.shape[1]), torch.empty_like(h), torch.empty_like(c)


LSTM_STEPS = torch.ops.seerc.lstm_steps.default


def expand_lstm(weights: WeightGraph) -> None:
    """aten.lstm -> a matmul and a `seerc::lstm_steps` for each layer and direction."""
    for node in each(weights, aten.lstm.input):
        call = Call(weights, node)
        results = _layers(call, node)
        for user in list(node.users):
            user.replace_all_uses_with(results[user.args[1]])
            weights.graph.erase_node(user)
        weights.graph.erase_node(node)
    weights.drop_dead()


def _layers(call: Call, node: Node) -> tuple[Node, Node, Node]:
    x, (h0, c0), parameters, biases, layers, _, _training, both_ways, batch_first = node.args
    directions = 2 if both_ways else 1
    size = 4 if biases else 2
    if len(parameters) != size * layers * directions:
        raise FrontendError("nn.LSTM with proj_size is not supported: use a Linear layer after the LSTM")
    x = call(aten.permute.default, x, [1, 0, 2]) if batch_first else x
    last_h, last_c = list[Node](), list[Node]()
    for layer in range(layers):
        outputs = list[Node]()
        for direction in range(directions):
            k = layer * directions + direction
            state = [call(aten.select.int, s, 0, k) for s in (h0, c0)]
            hidden, h, c = _steps(call, x, parameters[size * k : size * k + size], state, direction == 1)
            outputs.append(hidden)
            last_h.append(h)
            last_c.append(c)
        x = outputs[0] if directions == 1 else call(aten.cat.default, outputs, 2)
    x = call(aten.permute.default, x, [1, 0, 2]) if batch_first else x
    return x, _stack(call, last_h), _stack(call, last_c)


def _stack(call: Call, states: Sequence[Node]) -> Node:
    return call(aten.cat.default, [call(aten.unsqueeze.default, s, 0) for s in states], 0)


def _steps(call: Call, x: Node, parameters: Sequence[Node], state: Sequence[Node], reverse: bool) -> Any:
    w_ih, w_hh, *biases = parameters
    steps, batch, width = x.meta["val"].shape
    rows = call(aten.reshape.default, x, [steps * batch, width])
    rows = call(aten.mm.default, rows, call(aten.permute.default, w_ih, [1, 0]))
    if biases:
        rows = call(aten.add.Tensor, rows, call(aten.add.Tensor, *biases))
    projected = call(aten.reshape.default, rows, [steps, batch, w_ih.meta["val"].shape[0]])
    done = call(LSTM_STEPS, projected, call(aten.permute.default, w_hh, [1, 0]), *state, reverse)
    return tuple(_item(call, done, k) for k in range(3))


def _item(call: Call, node: Node, index: int) -> Node:
    return call(operator.getitem, node, index)


def lstm_function(name: str, node: Node) -> str:
    """MLIR of a private function that does what `lstm_steps` does for the shapes of `node`."""
    steps, batch, gates = node.args[0].meta["val"].shape
    size = gates // 4
    x, g, s = f"tensor<{steps}x{batch}x{gates}xf32>", f"tensor<{batch}x{gates}xf32>", f"tensor<{batch}x{size}xf32>"
    y = f"tensor<{steps}x{batch}x{size}xf32>"
    step = f"%last = arith.constant {steps - 1} : index\n      %t = arith.subi %last, %k : index"
    step = step if node.args[4] else "%t = arith.addi %k, %c0 : index"
    slices = "\n".join(
        f"      %{n} = tensor.extract_slice %gates[0, {k * size}] [{batch}, {size}] [1, 1] : {g} to {s}"
        for k, n in enumerate("ifgo")
    )
    identity = "affine_map<(a, b) -> (a, b)>"
    return f"""
  func.func private @{name}(%x: {x}, %w: tensor<{size}x{gates}xf32>, %h0: {s}, %s0: {s}) -> ({y}, {s}, {s}) {{
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %steps = arith.constant {steps} : index
    %one = arith.constant 1.0 : f32
    %y0 = tensor.empty() : {y}
    %r:3 = scf.for %k = %c0 to %steps step %c1 iter_args(%y = %y0, %h = %h0, %s = %s0) -> ({y}, {s}, {s}) {{
      {step}
      %p = tensor.extract_slice %x[%t, 0, 0] [1, {batch}, {gates}] [1, 1, 1] : {x} to {g}
      %gates = linalg.matmul ins(%h, %w : {s}, tensor<{size}x{gates}xf32>) outs(%p : {g}) -> {g}
{slices}
      %n:2 = linalg.generic {{indexing_maps = [{", ".join([identity] * 6)}],
        iterator_types = ["parallel", "parallel"]}} ins(%i, %f, %g, %o : {s}, {s}, {s}, {s})
        outs(%h, %s : {s}, {s}) {{
      ^bb0(%vi: f32, %vf: f32, %vg: f32, %vo: f32, %vh: f32, %vs: f32):
{_sigmoid("vi")}
{_sigmoid("vf")}
{_sigmoid("vo")}
        %tg = math.tanh %vg : f32
        %keep = arith.mulf %vf_sigmoid, %vs : f32
        %new = arith.mulf %vi_sigmoid, %tg : f32
        %c = arith.addf %keep, %new : f32
        %tc = math.tanh %c : f32
        %out = arith.mulf %vo_sigmoid, %tc : f32
        linalg.yield %out, %c : f32, f32
      }} -> ({s}, {s})
      %z = tensor.insert_slice %n#0 into %y[%t, 0, 0] [1, {batch}, {size}] [1, 1, 1] : {s} into {y}
      scf.yield %z, %n#0, %n#1 : {y}, {s}, {s}
    }}
    return %r#0, %r#1, %r#2 : {y}, {s}, {s}
  }}
"""


def _sigmoid(name: str) -> str:
    return f"""        %{name}_minus = arith.negf %{name} : f32
        %{name}_exp = math.exp %{name}_minus : f32
        %{name}_sum = arith.addf %{name}_exp, %one : f32
        %{name}_sigmoid = arith.divf %one, %{name}_sum : f32"""
