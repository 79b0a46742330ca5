"""A training that was killed goes on exactly; its journal is whole; two processes train one network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from costmodel.dataset import Dataset
from costmodel.errors import SeercError
from costmodel.neural import training
from costmodel.neural.batches import plan_epoch
from costmodel.neural.checkpoint import FILE
from costmodel.neural.inputs import dataset_inputs, examples
from costmodel.neural.learner import Bag
from costmodel.neural.options import NeuralOptions
from costmodel.neural.readers import build_reader
from costmodel.record import Record, RecordWriter


class Killed(Exception):
    pass


@pytest.fixture
def options(quick: NeuralOptions) -> NeuralOptions:
    return replace(quick, epochs=4, dropout=0.3, ranking=True, checkpoint_steps=3)


def test_a_resumed_training_equals_an_uninterrupted_one(
    dataset: Dataset, options: NeuralOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Bag(options).fit(dataset).network.state_dict()
    steps = 0
    real = training.huber

    def killed(*args: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 9:
            raise Killed
        return real(*args)

    monkeypatch.setattr(training, "huber", killed)
    with pytest.raises(Killed):
        Bag(options, tmp_path).fit(dataset)
    monkeypatch.setattr(training, "huber", real)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # as a kill leaves it
    resumed = Bag(options, tmp_path).fit(dataset).network.state_dict()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(
    dataset: Dataset, options: NeuralOptions, tmp_path: Path
) -> None:
    short = replace(options, epochs=1)
    Bag(short, tmp_path).fit(dataset)
    with pytest.raises(SeercError, match="other options or data"):
        Bag(replace(short, lr=1e-3), tmp_path).fit(dataset)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SeercError, match="cannot be read"):
        Bag(short, tmp_path).fit(dataset)


def test_a_budget_cuts_epochs_and_says_so(dataset: Dataset, options: NeuralOptions, tmp_path: Path) -> None:
    Bag(replace(options, epochs=50, max_seconds=1e-6), tmp_path).fit(dataset)
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert lines[-1]["epochs_cut_to"] == 1


@pytest.mark.parametrize("world", [1, 2])
def test_an_epoch_holds_every_workload_once_and_few_of_its_rows(
    dataset: Dataset, options: NeuralOptions, world: int
) -> None:
    reader = build_reader("bag", dataset.texts, options)
    rows = examples(dataset, dataset_inputs(dataset, reader, False))
    few = replace(options, candidates=5)
    batches = plan_epoch(rows, few, 0, world)
    assert len(batches) % world == 0
    found = np.concatenate(batches)
    assert len(found) == len(set(found.tolist())) == 5 * len(dataset.hashes)
    assert not np.array_equal(found, np.concatenate(plan_epoch(rows, few, 1, world)))


SCRIPT = """
import sys
from pathlib import Path
from dataclasses import replace
import numpy as np
from costmodel.dataset import load_dataset
from costmodel.neural.learner import Bag
from costmodel.neural.options import NeuralOptions
from costmodel.record import read_table
data = load_dataset(read_table(Path(sys.argv[1])))
options = NeuralOptions(tokenizer="seerc", hidden=16, batch=4, epochs=2, device="cpu")
model = Bag(options).fit(data)
model.save(Path(sys.argv[2]), "# card", {})
print(float(sum(v.double().abs().sum() for v in model.network.state_dict().values())))
"""


@pytest.mark.slow
def test_two_processes_train_one_network(records: list[Record], tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "data") as writer:
        for record in records[:240]:
            writer.add(record)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    base |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "data"), str(tmp_path / "model")]
    running = [
        subprocess.Popen(command, env={**base, "RANK": str(r), "LOCAL_RANK": str(r)}, stdout=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    said = [process.communicate(timeout=240)[0].split()[-1] for process in running]
    assert [p.returncode for p in running] == [0, 0]
    assert said[0] == said[1], "both processes hold the same weights"
    assert (tmp_path / "model" / "model.safetensors").is_file()
