"""SPDX licence expressions of files, and the tier of an expression: permissive, copyleft or unknown.

A file's licence is, in this order: its SPDX or well-known header, its paragraph of a DEP-5 debian/copyright, the
package's metadata, the licence file at the package's root.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

UNKNOWN = "NOASSERTION"
TIERS = ("permissive", "copyleft", "unknown")
_PERMISSIVE = re.compile(
    r"^(?:MIT(?:-\w+)*|Apache-[12]\.\d|0?BSD(?:-[\w-]+)?|ISC|Zlib|zlib-acknowledgement|BSL-1\.0|Unlicense|CC0-1\.0|NCSA|"
    r"PSF-2\.0|Python-2\.0(?:\.1)?|X11|HPND|Unicode-[\w.-]+|WTFPL|PostgreSQL|curl|bzip2-1\.0\.\d|ICU|BlueOak-1\.0\.0|"
    r"NTP|TCL|Spencer-\d+|FSFAP|SunPro|public-domain|ZPL-2\.1|CC-BY-[34]\.0|libpng(?:-2\.0)?|IJG|W3C)$"
)
_COPYLEFT = re.compile(
    r"^(?:[AL]?GPL|MPL|EPL|EUPL|CDDL|CC-BY-SA|CC-BY-NC|GFDL|QPL|OSL|Sleepycat|CeCILL|LPPL|CPL|IPL)\b"
)
_HEADERS = (
    (r"SPDX-License-Identifier:\s*([^\s*/][^\n*]*?)\s*(?:\*/|-->|-\}|\"|$)", ""),
    (r"under the Apache License v2\.0 with LLVM Exceptions", "Apache-2.0 WITH LLVM-exception"),
    (r"University of Illinois Open Source", "NCSA"),
    (r"(?:boost\.org/LICENSE_1_0|Boost Software License|Boost License 1\.0)", "BSL-1.0"),
    (r"Licensed under the Apache License, Version 2\.0", "Apache-2.0"),
    (r"GNU AFFERO GENERAL PUBLIC", "AGPL-3.0-or-later"),
    (r"GNU (?:Lesser|Library) General Public", "LGPL-2.1-or-later"),
    (r"GNU General Public License", "GPL-2.0-or-later"),
    (r"Mozilla Public License", "MPL-2.0"),
    (r"Permission is hereby granted, free of charge", "MIT"),
    (r"Permission to use, copy, modify, and(?:/or)? distribute this software", "ISC"),
    (r"Redistribution and use in source and binary forms", "BSD-3-Clause"),
    (r"This software is provided 'as-is', without any express or implied", "Zlib"),
    (r"(?i)\b(?:released|placed|is) (?:in|into) the public domain", "public-domain"),
    (r'declare\s+license\s+"?((?:BSD|MIT|LGPL|GPL|STK-4\.3)[^";\n]*)', ""),
    (r"(?i)licen[sc]ed? under the (MIT|BSD|ISC|zlib) licen[sc]e", ""),
)
_ANY_HEADER = ("spdx", "license", "licence", "public domain", "permission", "redistribution", "illinois", "as-is")
_TEXTS = (
    ("Apache License", "Apache-2.0"), ("GNU AFFERO", "AGPL-3.0-or-later"), ("GNU LESSER", "LGPL-2.1-or-later"),
    ("GNU GENERAL PUBLIC", "GPL-2.0-or-later"), ("Mozilla Public License", "MPL-2.0"),
    ("Permission is hereby granted, free of charge", "MIT"), ("Boost Software License", "BSL-1.0"),
    ("Redistribution and use in source", "BSD-3-Clause"), ("Permission to use, copy, modify", "ISC"),
    ("PYTHON SOFTWARE FOUNDATION", "PSF-2.0"),
)  # fmt: skip
_SHORT = {
    "apache-2-llvm-exceptions": "Apache-2.0 WITH LLVM-exception", "python": "Python-2.0", "u-of-i-bsd-like": "NCSA",
    "expat": "MIT", "mit/x11": "MIT", "mit license": "MIT", "bsd license": "BSD",
    "bsd-3-clauses": "BSD-3-Clause", "bsd-2-clauses": "BSD-2-Clause", "bsd3": "BSD-3-Clause", "apache": "Apache-2.0",
    "apache-2": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0", "boost": "BSL-1.0",
    "apache software license": "Apache-2.0", "apache license, version 2.0": "Apache-2.0", "boost-1.0": "BSL-1.0",
    "boost-1": "BSL-1.0", "artistic": "Artistic-1.0", "public domain": "public-domain", "zlib/libpng": "Zlib",
    "zlib": "Zlib", "isc": "ISC", "mit": "MIT", "cc0": "CC0-1.0", "unlicense": "Unlicense", "psf": "PSF-2.0",
    "stk-4.3": "MIT", "new bsd": "BSD-3-Clause", "3-clause bsd": "BSD-3-Clause", "gpl": "GPL-2.0-or-later",
    "lgpl": "LGPL-2.1-or-later", "gpl3": "GPL-3.0-only", "gpl2": "GPL-2.0-only",
    "mozilla public license 2.0": "MPL-2.0",
}  # fmt: skip
_GNU = re.compile(r"^(A?GPL|LGPL|GFDL|MPL)[- ]?v?(\d+(?:\.\d+)?)(\+)?", re.IGNORECASE)


def header_licence(text: str) -> str:
    """The SPDX expression that the first 6,000 characters of a file state, or nothing."""
    head = text[:6000]
    lower = head.lower()
    if not any(word in lower for word in _ANY_HEADER):
        return ""
    for pattern, expression in _HEADERS:
        if found := re.search(pattern, head, re.MULTILINE):
            return expression or spdx(found[1])
    return ""


def licence_of_text(text: str) -> str:
    """The licence whose full text a LICENSE file holds, or nothing."""
    head = text[:4000]
    found = next((expression for words, expression in _TEXTS if words.lower() in head.lower()), "")
    return "Apache-2.0 WITH LLVM-exception" if found == "Apache-2.0" and "LLVM Exceptions" in text else found


@cache
def spdx(name: str) -> str:
    """An SPDX expression for a licence as Debian, PyPI or a header writes it; unknown names stay as they are."""
    parts = re.split(r"\s+(and|or|with|AND|OR|WITH)\s+|\s*(/)\s*(?=[A-Z])", name.strip().strip("."))
    words = [part for part in parts if part]
    joined = [
        {"/": "OR"}.get(word, word.upper()) if word.lower() in ("and", "or", "with", "/") else _one(word)
        for word in words
    ]
    return " ".join(joined) or UNKNOWN


def _one(name: str) -> str:
    name = name.strip().strip("()")
    if name.lower() in _SHORT:
        return _SHORT[name.lower()]
    if gnu := _GNU.match(name):
        number = gnu[2] if "." in gnu[2] else f"{gnu[2]}.0"
        return f"{gnu[1].upper()}-{number}" + (
            "" if gnu[1].upper() == "MPL" else "-or-later" if gnu[3] or "later" in name else "-only"
        )
    bsd = re.match(r"(?i)bsd-(\d)-clause(.*)$", name)
    if bsd:
        return f"BSD-{bsd[1]}-Clause{bsd[2]}"
    apache = re.match(r"(?i)apache[- ](?:license[, ]*)?(?:version )?2(?:\.0)?$", name)
    return "Apache-2.0" if apache else re.sub(r"\s+", "-", name) or UNKNOWN


@cache
def tier(expression: str) -> str:
    """The tier of an SPDX expression: the best of what OR offers, the worst of what AND demands."""
    words = re.findall(r"[()]|[^\s()]+(?:\s+WITH\s+[^\s()]+)?", expression)
    return TIERS[_worst_of_best(words)] if words else "unknown"


def _worst_of_best(words: list[str]) -> int:
    """Evaluate an expression by its words: OR takes the lower index into TIERS, AND the higher and binds tighter.

    Takes the words it has read off the list; what is not well-formed counts as unknown.
    """
    best, worst, pending = len(TIERS) - 1, -1, False
    while words:
        word = words.pop(0)
        if word == ")":
            break
        if word.upper() == "OR":
            best = min(best, worst if worst >= 0 else best)
            worst = -1
        elif word.upper() != "AND":
            value = _worst_of_best(words) if word == "(" else TIERS.index(_tier_of_one(word))
            worst = max(worst, value)
        pending = word.upper() in ("OR", "AND")
    return len(TIERS) - 1 if pending or worst < 0 else min(best, worst)


def _tier_of_one(licence: str) -> str:
    name = licence.strip().split(" WITH ")[0].strip()
    if _PERMISSIVE.match(name):
        return "permissive"
    return "copyleft" if _COPYLEFT.match(name) else "unknown"


class Licences:
    """The licences of a package's files."""

    def __init__(self, root: Path, declared: str = "") -> None:
        self._paragraphs = _debian_copyright(root / "debian" / "copyright")
        self._package = declared or _root_licence(root)

    def of(self, path: str, text: str) -> str:
        """The SPDX expression of a file, NOASSERTION where nothing states one."""
        if found := header_licence(text):
            return found
        stated = next((licence for pattern, licence in self._paragraphs if pattern.fullmatch(path)), "")
        return stated or self._package or UNKNOWN


def _debian_copyright(path: Path) -> list[tuple[re.Pattern[str], str]]:
    """The Files paragraphs of a DEP-5 file: pattern and licence, the last first, since the last that matches holds.

    python-debian parses a paragraph anew for each path it is asked about; empty where there is no file of that format.
    """
    if not path.exists():
        return []
    from debian.copyright import Copyright, MachineReadableFormatError, NotMachineReadableError

    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            parsed: Any = Copyright(file, strict=False)
        paragraphs = [(one.files_pattern(), one.license) for one in parsed.all_files_paragraphs()]
    except (NotMachineReadableError, MachineReadableFormatError, ValueError):
        return []
    return [(pattern, spdx(stated.synopsis) if stated else "") for pattern, stated in reversed(paragraphs) if pattern]


def _root_licence(root: Path) -> str:
    """What the licence files at the root of a package, or one folder below, hold; several are joined by AND."""
    names = re.compile(r"^(?:LICEN[CS]E|COPYING|COPYRIGHT)[\w.-]*$", re.IGNORECASE)
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())] if root.is_dir() else []
    for folder in folders:
        files = [path for path in sorted(folder.iterdir()) if names.match(path.name) and path.is_file()]
        found = {licence_of_text(path.read_text(encoding="utf-8", errors="replace")) for path in files} - {""}
        if found:
            return " AND ".join(sorted(found))
    return ""
