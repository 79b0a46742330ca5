"""SPDX expressions from headers, DEP-5 files and metadata, and the tiers that decide what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir_corpus.sources.licences import TIERS, UNKNOWN, Licences, header_licence, licence_of_text, spdx, tier


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
        ("Apache-2.0 or MIT", "Apache-2.0 OR MIT"),
        ("APACHE-2-LLVM-EXCEPTIONS", "Apache-2.0 WITH LLVM-exception"),
        ("GPL-3+ with GCC exception", "GPL-3.0-or-later WITH GCC-exception"),
        ("Mystery Licence 7", "Mystery-Licence-7"),
        ("", UNKNOWN),
    ],
)
def test_names_become_spdx(name: str, expression: str) -> None:
    assert spdx(name) == expression


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", "permissive"),
        ("Apache-2.0 WITH LLVM-exception", "permissive"),
        ("MIT OR GPL-2.0-or-later", "permissive"),
        ("MIT AND GPL-2.0-or-later", "copyleft"),
        ("(MIT OR Apache-2.0) AND LGPL-2.1-only", "copyleft"),
        ("GPL-3.0-or-later WITH GCC-exception", "copyleft"),
        ("MIT AND Mystery", "unknown"),
        ("MITRE-secret", "unknown"),
        (UNKNOWN, "unknown"),
        ("", "unknown"),
    ],
)
def test_tiers(expression: str, expected: str) -> None:
    assert tier(expression) == expected


@given(st.text(max_size=60))
def test_any_text_has_a_tier(text: str) -> None:
    assert tier(text) in TIERS
    assert tier(spdx(text)) in TIERS


@pytest.mark.parametrize(
    ("header", "expression"),
    [
        ("// SPDX-License-Identifier: MIT\n", "MIT"),
        ("/*\n  This software is provided 'as-is', without any express or implied\n  warranty.\n*/", "Zlib"),
        (
            "/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */\n",
            "GPL-2.0-only WITH Linux-syscall-note",
        ),
        ("-- SPDX-License-Identifier: Apache-2.0 OR MIT\n", "Apache-2.0 OR MIT"),
        (" * License:   $(HTTP boost.org/LICENSE_1_0.txt, Boost License 1.0).", "BSL-1.0"),
        ('declare license "BSD";\n', "BSD"),
        ("! This is free software under the GNU General Public License as", "GPL-2.0-or-later"),
        ("int licence(void);\n", ""),
    ],
)
def test_headers(header: str, expression: str) -> None:
    assert header_licence(header) == expression


def test_a_header_beats_dep5_beats_metadata(tmp_path: Path) -> None:
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian" / "copyright").write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
        "Files: *\nCopyright: x\nLicense: Expat\n\nFiles: gpl/*\nCopyright: y\nLicense: GPL-2+\n"
    )
    licences = Licences(tmp_path, "ISC")
    assert licences.of("a.c", "int x;") == "MIT"
    assert licences.of("gpl/a.c", "int x;") == "GPL-2.0-or-later"
    assert licences.of("gpl/a.c", "// SPDX-License-Identifier: ISC\n") == "ISC"
    assert Licences(tmp_path / "debian", "ISC").of("a.c", "") == "ISC"


def test_a_licence_file_speaks_for_the_package(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("Permission is hereby granted, free of charge, to any person")
    assert Licences(tmp_path).of("a.c", "int x;") == "MIT"
    (tmp_path / "COPYING.GPL").write_text("GNU GENERAL PUBLIC LICENSE Version 2")
    assert tier(Licences(tmp_path).of("a.c", "int x;")) == "copyleft"


def test_texts_of_licences() -> None:
    assert (
        licence_of_text("Apache License v2.0 with LLVM Exceptions:\nApache License") == "Apache-2.0 WITH LLVM-exception"
    )
    assert licence_of_text("All rights reserved.") == ""


def test_a_broken_copyright_file_is_no_licence(tmp_path: Path) -> None:
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian" / "copyright").write_bytes(b"\xff\xfe nothing of the kind")
    assert Licences(tmp_path).of("a.c", "") == UNKNOWN
