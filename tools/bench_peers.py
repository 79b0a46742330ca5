"""Our programs beside eager, torch.compile, ONNX Runtime, OpenVINO and IREE, alternating in one process a model.

    python tools/bench_peers.py zoo:bert zoo:resnet18 --threads 1 --output docs/data/peers.json --markdown peers.md

The peers live in .venv-peers beside .venv, made on the first run: it sees .venv's packages through a .pth file, and pip
puts only the peers (extra `peers` of pyproject.toml) into it. Every peer runs the model with its weights as constants,
at the given number of threads and f32, on inputs that lie ready; its outputs are compared with eager PyTorch's first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-peers"
PEERS = ("eager", "compile", "onnxruntime", "openvino", "iree")
PACKAGES = {
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
    "openvino": ("openvino", "onnx", "onnxscript"),
    "iree": ("iree-base-compiler", "iree-base-runtime", "onnx", "onnxscript"),
}
"""What each peer needs; eager and torch.compile come with .venv."""
LARGEST_ERROR = 1e-3
"""A peer whose outputs are further from eager's does not compute the same model."""


def main() -> int:
    """Makes the venv and starts again inside, or measures."""
    args = _arguments()
    peers = [peer.strip() for peer in args.peers.split(",") if peer.strip()]
    if unknown := set(peers) - set(PEERS):
        sys.exit(f"unknown peers {', '.join(sorted(unknown))}; known: {', '.join(PEERS)}")
    if Path(sys.prefix) != VENV:
        _install(peers)
        return subprocess.run([VENV / "bin" / "python", __file__, *sys.argv[1:]], check=False, cwd=ROOT).returncode
    return _measure(args, peers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="as for `seerc compile`")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="LIST", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="timed for each contestant")
    parser.add_argument("--cost-model", default="default", metavar="NAME")
    parser.add_argument("--lines", type=Path, metavar="FILE.jsonl", help="keep finished models there, to go on later")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="the JSON of `seerc bench`")
    parser.add_argument("--markdown", type=Path, metavar="FILE.md", help="a table for a page")
    return parser.parse_args()


def _install(peers: Sequence[str]) -> None:
    """The venv, and with pip what is missing of the peers."""
    if not (VENV / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        names = {"base": str(VENV), "platbase": str(VENV)}
        packages = Path(sysconfig.get_path("purelib", vars=names))
        (packages / "seerc-peers.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {pin.partition("==")[0]: pin for pin in project["optional-dependencies"]["peers"]}
    wanted = dict.fromkeys(pins.get(name, name) for peer in peers for name in PACKAGES.get(peer, ()))
    if wanted:
        pip = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted], check=True)


def _measure(args: argparse.Namespace, peers: Sequence[str]) -> int:
    from compiler.bench import BenchOptions, bench_models, for_models, summary
    from costmodel.files import write_atomically

    options = BenchOptions("", (), tuple(peers), args.threads, args.seconds, args.cost_model)
    more = {name: make for name, make in MAKERS.items() if name in peers}
    results: list[dict[str, Any]] = []
    for result in bench_models(for_models(args.models, options), args.lines, more):
        results.append(result)
        print(result.get("error") or _row(result, peers), file=sys.stderr)
    data = summary(results)
    if args.output:
        write_atomically(args.output, json.dumps(data, indent=2) + "\n")
    text = _markdown(data, peers)
    if args.markdown:
        write_atomically(args.markdown, text)
    print(text)
    return 1 if data["failed"] else 0


def _markdown(data: dict[str, Any], peers: Sequence[str]) -> str:
    models = data["models"]
    cpu = data["machine"]["cpu"]
    lines = [
        f"Median milliseconds, and in brackets how many times faster seerc is (95 % interval), {cpu}.",
        "",
        "| model | threads | seerc | " + " | ".join(peers) + " |",
        "| --- |" + " --- |" * (len(peers) + 2),
        *(_row(model, peers) for model in models),
    ]
    means = [f"{data['geomean'][p]:.2f}x" if p in data["geomean"] else "-" for p in peers]
    lines += ["| geometric mean | | | " + " | ".join(means) + " |", ""]
    versions = {name: peer["version"] for model in models for name, peer in model["peers"].items()}
    versions |= {"seerc": models[0]["seerc_version"]} if models else {}
    lines += ["Versions: " + "; ".join(f"{name} {text}" for name, text in versions.items()) + "."]
    lines += [f"- {m['model']}, no {name}: {reason}" for m in models for name, reason in m["absent"].items()]
    lines += [f"- {m['model']}: noisy ({', '.join(m['noisy'])})" for m in models if m["noisy"]]
    lines += [f"- {f['model']}: {f['error']}" for f in data["failed"]]
    return "\n".join(lines) + "\n"


def _row(model: dict[str, Any], peers: Sequence[str]) -> str:
    cells = [model["model"], str(model["threads"]), f"{model['seerc_ms']:.3g}"]
    for name in peers:
        peer = model["peers"].get(name)
        text = peer and f"{peer['ms']:.3g} ({peer['ratio']:.2f}x, {peer['low']:.2f} to {peer['high']:.2f})"
        cells.append(text or "-")
    return "| " + " | ".join(cells) + " |"


def onnxruntime(model: Any, inputs: tuple[Any, ...], options: Any, threads: int) -> Any:
    """All graph optimisations, one session, sequential."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        path = str(_onnx(model, inputs, Path(folder)))
        session = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    feed = dict(zip(names, _arrays(inputs), strict=True))
    return _checked("onnxruntime", version("onnxruntime"), lambda: session.run(None, feed), model)


def openvino(model: Any, inputs: tuple[Any, ...], options: Any, threads: int) -> Any:
    """The LATENCY hint, f32."""
    import openvino as ov

    core = ov.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    with tempfile.TemporaryDirectory() as folder:
        compiled = core.compile_model(core.read_model(_onnx(model, inputs, Path(folder))), "CPU", settings)
    request, feed = compiled.create_infer_request(), _arrays(inputs)
    outputs = compiled.outputs

    def run() -> list[Any]:
        found = request.infer(feed, share_inputs=True, share_outputs=True)
        return [found[output] for output in outputs]

    return _checked("openvino", version("openvino"), run, model)


def iree(model: Any, inputs: tuple[Any, ...], options: Any, threads: int) -> Any:
    """llvm-cpu for this CPU, O3, data tiling; one thread runs on local-sync, more on local-task."""
    import iree.runtime as rt

    if threads > 1:
        rt.flags.parse_flags(f"--task_topology_group_count={threads}")
    with tempfile.TemporaryDirectory() as folder:
        binary = _iree_binary(_onnx(model, inputs, Path(folder)), Path(folder))
        config = rt.Config("local-sync" if threads == 1 else "local-task")
        module = rt.VmModule.copy_buffer(config.vm_instance, binary.read_bytes())
    loaded = rt.load_vm_module(module, config)
    function = loaded[next(name for name in module.function_names if "__" not in name and "$" not in name)]
    feed = [rt.asdevicearray(config.device, array) for array in _arrays(inputs)]

    def run() -> list[Any]:
        found = function(*feed)
        outputs = found if isinstance(found, tuple | list) else (found,)
        return [output.to_host() for output in outputs]

    return _checked("iree", version("iree-base-compiler"), run, model)


def _iree_binary(model: Path, folder: Path) -> Path:
    text, binary = folder / "model.mlir", folder / "model.vmfb"
    _tool("iree.compiler.tools.import_onnx", str(model), "-o", str(text))
    _tool(
        "iree.compiler.tools.scripts.iree_compile", str(text), "-o", str(binary), "--iree-hal-target-device=local",
        "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3",
        "--iree-opt-data-tiling",
    )  # fmt: skip
    return binary


def _tool(module: str, *arguments: str) -> None:
    from costmodel.errors import SeercError

    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line.lower()), done.stderr[-200:])
        raise SeercError(f"{module.rpartition('.')[2]} failed: {reason.strip()[:200]}")


def _onnx(model: Any, inputs: tuple[Any, ...], folder: Path) -> Path:
    """The model exported to ONNX, weights inside or in a file beside."""
    import torch

    from costmodel.errors import SeercError

    if model.module is None:
        raise SeercError("the model comes from a file without a PyTorch model")
    path = folder / "model.onnx"
    torch.onnx.export(model.module, inputs, str(path), dynamo=find_spec("onnxscript") is not None)
    return path


def _arrays(inputs: tuple[Any, ...]) -> list[Any]:
    return [tensor.numpy() for tensor in inputs]


def _checked(name: str, text: str, run: Callable[[], list[Any]], model: Any) -> Any:
    """The contestant, if its outputs are eager's."""
    from compiler.driver import relative_error
    from compiler.timing import Contestant
    from costmodel.errors import SeercError

    reference, outputs = model.eager(*model.example_inputs), run()
    if len(outputs) != len(reference):
        raise SeercError(f"{name} gives {len(outputs)} outputs, PyTorch {len(reference)}")
    error = relative_error([y.reshape(r.shape) for y, r in zip(outputs, reference, strict=True)], reference)
    if not error <= LARGEST_ERROR:
        raise SeercError(f"{name} computes something else: relative error {error:.1e}")
    return Contestant(name, run, text)


MAKERS = {"onnxruntime": onnxruntime, "openvino": openvino, "iree": iree}

if __name__ == "__main__":
    sys.exit(main())
