"""Rust: `cargo test -- --include-ignored`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from forge_envs.worlds.polyglot.languages.base import REPORT, Changed, Control, Language, Results
from forge_envs.worlds.polyglot.languages.retold import blanked, retold

_TEST = re.compile(
    r"^\s*#\[test\](?:\s*(?://[^\n]*|#\[[^\n]*\]))*\s*(?:pub )?(?:async )?fn (\w+)", re.MULTILINE
)
_BLOCK = re.compile(
    r"^[ \t]*#\[test\]\s*(?:#\[ignore[^\n]*\]\s*)?(?:///?[^\n]*\s*)*fn (?P<name>\w+)\s*\(", re.MULTILINE
)
_CLAIMS = re.compile(r"\bassert(?:_eq)?!\s*\(|\b\w*(?:process|test|check|case|assert)\w*\(")
_TURNS = (
    (r"\bassert_eq!", "assert_ne!"),
    (r"\bassert!\((?!!)((?:[\w.&:]+(?:\([^()]*\))?)+)\)", r"assert!(!\1)"),
    (r"\bassert!\(!", "assert!("),
)
_CONDITIONAL = re.compile(
    r"^(?P<indent>[ \t]*)#\[cfg\([^\n]*\n[ \t]*mod \w+ \{\n.*?^(?P=indent)\}\n"  # a module
    r"|^[ \t]*(?:#\[[^\n]*\n[ \t]*)*#\[cfg\([^\n]*\n(?:[ \t]*#\[[^\n]*\n)*",  # all attributes of a function
    re.MULTILINE | re.DOTALL,
)
_RESULT = re.compile(r"^test (?:\S+::)?(\w+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", re.MULTILINE)


class Rust(Language):
    """cargo, offline; the crates that three exercises declare come from Debian's packages."""

    name, title, fence = "rust", "Rust", "rust"
    tools = ("cargo", "rustc")
    probe = "rustc --version | cut -d' ' -f2 && cargo --version"
    least = (1, 70)
    install = "apt-get install rustc-web cargo-web librust-rand-dev librust-time-dev librust-anyhow-dev"
    report = f"{REPORT}/report.txt"
    begins = r"#\[test\]"
    noise = (
        r"; finished in \d+\.\d+s",
        r"^ *(?:Finished|Running|Compiling|Doc-tests) .*\n?",
        r"(?<=; )\d+ filtered out",
    )

    def expected(self, tests: Mapping[str, str]) -> Counter[str]:
        """Functions marked `#[test]`, but for those of features, which are off."""
        texts = [_CONDITIONAL.sub("", text) for text in tests.values()]
        return Counter(name for text in texts for name in _TEST.findall(text))

    def plant(self, text: str, control: Control) -> str:
        """A function at the end."""
        return f"{text}\n\n#[test]\nfn {control.name}() {{\n    assert_eq!(1, 2);\n}}\n"

    def retell(self, text: str, control: Control) -> Changed | None:
        """A function."""
        return retold(text, blanked(text), _BLOCK, _CLAIMS, _TURNS, control)

    def command(self, name: str, tests: Mapping[str, str]) -> str:
        """`cargo test` with ignored tests, without an end at the first program that fails: the same words
        whichever run it is, for programs can read them."""
        return f"{_CARGO} --no-fail-fast -- --include-ignored 2>&1 | tee {REPORT}/report.txt"

    def results(self, report: str, output: str) -> Results:
        """From libtest's lines."""
        return Results.of([(m[1], m[2] == "ok") for m in _RESULT.finditer(report)])


_REGISTRY = "/usr/share/cargo/registry"
_CARGO = (
    "set -o pipefail; export CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never; "
    f"options=(); [ -d {_REGISTRY} ] && options=(--config 'source.crates-io.replace-with=\"debian\"' "
    f"--config 'source.debian.directory=\"{_REGISTRY}\"'); "
    'cargo test "${options[@]}"'
)
