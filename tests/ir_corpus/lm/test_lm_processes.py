"""Two processes, as torchrun starts them, train one model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
from ir_corpus.lm.documents import encode_pairs
from ir_corpus.lm.options import SIZES, Size
from ir_corpus.lm.pairs import choose
from ir_corpus.lm.train import make_model, train_pairs
from tests.ir_corpus.lm.conftest import QUICK, rows

SIZES["quick"] = Size(32, 2, 2, 64, 400)
pairs = choose(rows(), "train", 1000)
model = make_model(QUICK, pairs)
train_pairs(model, encode_pairs(model.tokenizer, pairs, QUICK.window), (), QUICK, Path(sys.argv[1]))
print(float(sum(v.double().abs().sum() for v in model.network.state_dict().values())))
"""


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    base |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "model")]
    running = [
        subprocess.Popen(command, env={**base, "RANK": str(r), "LOCAL_RANK": str(r)}, stdout=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    said = [process.communicate(timeout=900)[0].split()[-1] for process in running]
    assert [p.returncode for p in running] == [0, 0]
    assert said[0] == said[1], "both processes hold the same weights"
    assert (tmp_path / "model" / "model.safetensors").is_file()
