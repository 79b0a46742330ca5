"""A decoder on disk: what is loaded generates what was saved, and damage is a user error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.decode.folder import CompiledDecoder, is_decoder, load_decoder
from compiler.decode.generate import Draft, Request
from compiler.decode.source import load_source
from costmodel.errors import SeercError
from tests.compiler.decode.decode_models import PROMPTS, build, generated

PLAN = {"decision": "apply", "method": "skip", "skipped": [1], "draft_length": 2}


@pytest.fixture(scope="module")
def saved(compiled: CompiledDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder") / "saved"
    replace(compiled, end=(5, 6), plan=PLAN).save(folder)
    return folder


def test_round_trip(compiled: CompiledDecoder, saved: Path, tmp_path: Path) -> None:
    assert is_decoder(saved)
    assert not is_decoder(tmp_path)
    loaded = load_decoder(saved)
    assert (loaded.name, loaded.options, loaded.end, loaded.plan) == ("llama", compiled.options, (5, 6), PLAN)
    assert loaded.tokenizer("é")["input_ids"] == compiled.tokenizer("é")["input_ids"]
    assert loaded.tokenizer.chat_template == compiled.tokenizer.chat_template
    for draft in (None, Draft((1,), 2)):
        expected = generated(compiled.decoder(1), PROMPTS, Request(8), draft)
        assert generated(loaded.decoder(1), PROMPTS, Request(8), draft) == expected


def test_other_plans(saved: Path) -> None:
    loaded = load_decoder(saved)
    assert loaded.with_plan({**PLAN, "skipped": (0, 1)}).plan == {**PLAN, "skipped": [0, 1]}
    stop = {**PLAN, "stop_below": 0.8}
    assert loaded.with_plan({**stop, "draft_length": 1, "decision": "refuse"}).plan is not None
    static = {**PLAN, "method": "static"}
    for plan, message in (
        ({**PLAN, "draft_length": 3}, r"need a step of width 4 \(it has 1, 3\)"),
        (stop, r"need a step of width 2 \(it has 1, 3\)"),
        (static, "a static plan is a program of its own"),
    ):
        with pytest.raises(SeercError, match=message):
            loaded.with_plan(plan)
    assert replace(loaded, plan=static).with_plan(static).plan == static
    with pytest.raises(SeercError, match="compiled for another plan"):
        replace(loaded, plan=static).with_plan(PLAN)


def test_steps_share_one_weights_file(saved: Path) -> None:
    inodes = {path.stat().st_ino for path in saved.glob("step-*/weights*")}
    assert len(inodes) == 1


def test_only_a_decoder_is_replaced(compiled: CompiledDecoder, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SeercError, match="choose another place"):
        compiled.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_loaded_decoder_is_saved_over_itself(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    replace(load_decoder(tmp_path / "copy"), plan=None).save(tmp_path / "copy")
    assert load_decoder(tmp_path / "copy").plan is None


def edit(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        record = json.loads((folder / "decoder.json").read_text())
        (folder / "decoder.json").write_text(json.dumps({**record, **changes}))

    return damage


def options(**changes: Any) -> Callable[[Path], None]:
    return edit(options={"batch": 2, "context": 32, "widths": [1, 3], "prefill": 4, "skippable": True, **changes})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "decoder.json").unlink(), "cannot read decoder.json"),
        (lambda folder: (folder / "decoder.json").write_text("{"), "cannot read decoder.json"),
        (lambda folder: (folder / "decoder.json").write_text("[]"), "cannot read decoder.json"),
        (lambda folder: shutil.rmtree(folder / "step-1"), "step-1"),
        (lambda folder: (folder / "tokenizer" / "tokenizer.json").write_text("{"), "cannot load the tokenizer"),
        (edit(format=1), "decoder format 1, this seerc reads 2"),
        (edit(end=["x"]), "cannot read decoder.json"),
        (edit(options={"colour": 1}), "cannot read decoder.json"),
        (options(batch=0), "at least 1"),
        (options(batch=3), "step-0 holds another program"),
        (options(context=33), "step-0 holds another program"),
        (options(widths=[1, 2]), "step-1 holds another program"),
        (options(widths=[1, 3, 5]), "step-2 holds another program"),
        (options(skippable=False), "step-0 holds another program"),
    ],
)
def test_damage_is_a_user_error(saved: Path, tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(saved, folder)
    damage(folder)
    with pytest.raises(SeercError, match=message):
        load_decoder(folder)


def test_sources_that_cannot_be_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    build("llama").save_pretrained(folder)
    assert load_source(str(folder)).tokenizer is None
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SeercError, match="cannot load a causal language model"):
        load_source(str(folder))
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(SeercError, match="pickled weights"):
        load_source(str(folder))
    for spec, message in (("zoo:mlp", "zoo:smollm2"), (str(tmp_path), "with config.json")):
        with pytest.raises(SeercError, match=message):
            load_source(spec)
