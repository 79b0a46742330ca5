"""The dataset card: README.md of a corpus, with the front matter that the `datasets` library reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEMPLATE = """\
---
pretty_name: Source and LLVM IR pairs
tags: [code, compiler, llvm-ir]
license: other
configs:
{% for config in configs %}- config_name: {{ config.name }}
  data_files:
{% for split in config.splits %}  - split: {{ split.name }}
    path: {{ split.path }}
{% endfor %}{% endfor %}---

# Source and LLVM IR pairs

Written by `seerc corpus build`. Every IR was parsed, verified and printed by LLVM {{ m.llvm }}; levels
{{ m.levels | join(', ') }}. Licences are those of the sources, per row; tiers: {{ m.licence }}.

| language | compiler | files | file pairs | function pairs | under 4,096 tokens | train | valid | test |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{% for r in rows %}| {{ r.language }} | {{ r.compiler }} | {{ r.files }} | {{ r.pairs }} | {{ r.functions }} | \
{{ r.short }} | {{ r.train }} | {{ r.valid }} | {{ r.test }} |
{% endfor %}
A file pair is one source file at one level; a function pair is the text of one function and the smallest module that
defines it. Functions whose IR differs in names alone are stored once. Splits are by package, or by folder where a
language has fewer than five packages.

## Sources

| source | version | sha256 of the archive |
| --- | --- | --- |
{% for s in m.sources %}| {{ s.spec }} | {{ s.version or '-' }} | {{ s.sha256 or '-' }} |
{% endfor %}
## Licences

| licence | rows |
| --- | ---: |
{% for name, count in m.licences.items() %}| {{ name }} | {{ count }} |
{% endfor %}
## What was left out

| language | reason | count |
| --- | --- | ---: |
{% for language, counts in m.reasons.items() %}{% for reason, count in counts.items() %}| {{ language }} | \
{{ reason }} | {{ count }} |
{% endfor %}{% endfor %}
## Limits

Most files are tests and standard libraries: they stand alone, and are not what applications look like. Old compilers
(D, Haskell, Crystal, VHDL) optimise with an older LLVM; LLVM {{ m.llvm }} only reads and prints what they wrote.
"""


def card(manifest: Mapping[str, Any]) -> str:
    """The card of a corpus, from its manifest alone."""
    from jinja2 import Environment

    languages = sorted({*manifest["pairs"], *manifest["functions"]})
    rows = [_row(manifest, language) for language in languages]
    kinds = [kind for kind in ("file", "function") if any(f"data/{kind}/" in s["path"] for s in manifest["shards"])]
    configs = [{"name": kind, "splits": _splits(manifest, kind)} for kind in kinds]
    template = Environment(autoescape=False, keep_trailing_newline=True).from_string(_TEMPLATE)
    return template.render(m=manifest, rows=rows, configs=configs)


def _row(manifest: Mapping[str, Any], language: str) -> dict[str, Any]:
    splits = manifest["splits"].get(language, {})
    share = manifest["functions_under_4096_tokens"].get(language)
    return {
        "language": language,
        "compiler": manifest["compilers"].get(language, {}).get("name", "-"),
        "files": manifest["files"].get(language, 0),
        "pairs": manifest["pairs"].get(language, 0),
        "functions": manifest["functions"].get(language, 0),
        "short": "-" if share is None else f"{share:.1%}",
        **{split: splits.get(split, 0) for split in ("train", "valid", "test")},
    }


def _splits(manifest: Mapping[str, Any], kind: str) -> list[dict[str, str]]:
    paths = [shard["path"] for shard in manifest["shards"]]
    present = [
        split for split in ("train", "valid", "test") if any(f"/{kind}/" in p and f"/{split}-" in p for p in paths)
    ]
    return [{"name": split, "path": f"data/{kind}/*/{split}-*.parquet"} for split in present]
