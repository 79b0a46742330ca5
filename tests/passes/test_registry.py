"""The registry: the decorator, --load, name clashes and malformed passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import seerc
from costmodel.errors import SeercError
from passes import registry
from passes.base import Pass, PassContext
from passes.registry import installed, register_pass

PASS_FILE = """
from dataclasses import dataclass
from typing import ClassVar
import seerc

@seerc.register_pass
@dataclass(frozen=True)
class Loaded(seerc.Pass):
    "A pass from a file."
    name: ClassVar[str] = "{name}"
    n: int = 3

    def run(self, op, context):
        pass
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_decorated", {})


@dataclass(frozen=True)
class Plain(Pass):
    """Does nothing."""

    name: ClassVar[str] = "test-plain"

    def run(self, op: object, context: PassContext) -> None:
        pass


def test_the_decorator_registers() -> None:
    assert "test-plain" not in installed().names
    before = installed()
    assert seerc.register_pass(Plain) is Plain
    assert installed().get("test-plain") is Plain
    assert "test-plain" not in before.names  # a registry is a snapshot
    register_pass(Plain)  # a notebook cell run twice


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(SeercError, match="unknown pass 'seerc-strip-assert': did you mean seerc-strip-asserts"):
        installed().get("seerc-strip-assert")


def test_a_clash_is_an_error() -> None:
    register_pass(Plain)

    @dataclass(frozen=True)
    class Other(Plain):
        """Another one of the same name."""

    with pytest.raises(SeercError, match=r"two passes are called 'test-plain': .*:Plain and .*Other; rename"):
        register_pass(Other)


def test_a_clash_with_a_built_in_pass_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PASS_FILE.format(name="seerc-strip-asserts"))
    with pytest.raises(SeercError, match="two passes are called 'seerc-strip-asserts'"):
        installed([tmp_path / "mine.py"])


def test_load_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PASS_FILE.format(name="test-loaded"))
    assert str(installed([file]).get("test-loaded")()) == "test-loaded"
    assert installed([file, file]).get("test-loaded").__doc__ == "A pass from a file."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such Python file"),
        ("x = 1", "registers no pass"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_bad_file_is_a_user_error(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SeercError, match=message):
        installed([file])


def test_malformed_passes_are_refused() -> None:
    class Bare(Plain):
        pass

    @dataclass(frozen=True)
    class Shouting(Plain):
        name: ClassVar[str] = "Test_Plain"

    @dataclass(frozen=True)
    class Untextual(Plain):
        option: dict[str, int] | None = None

    for cls, message in ((Bare, "is no dataclass"), (Shouting, "in kebab-case"), (Untextual, "option option has type")):
        with pytest.raises(SeercError, match=message):
            register_pass(cls)
    with pytest.raises(SeercError, match=r"does not derive from seerc\.Pass"):
        register_pass(int)  # pyright: ignore
