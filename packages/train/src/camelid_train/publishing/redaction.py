"""What must not leave this machine with a text: absolute paths and secrets.

Settings are changed: of a path its last part stays, a secret becomes a mark. What decides how a model computes (chat
templates, tokenizers, metadata of weights) is never changed: there the same finding is a reason to refuse. Knows
forms of paths and of credentials, and this machine's own. Knows nothing of models.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Self

from camelid_core.paths import home
from camelid_core.subprocesses import is_secret_variable
from camelid_core.url_credentials import without_userinfo

MARK = "[removed]"
_LEAST_SECRET = 8
"""Characters: a shorter value of a variable would be found everywhere."""
_SECRETS = re.compile(
    r"""\b(
      hf_[A-Za-z0-9]{16,} | sk-[A-Za-z0-9_-]{16,} | gh[opsur]_[A-Za-z0-9]{16,} | github_pat_[A-Za-z0-9_]{16,}
      | glpat-[A-Za-z0-9_-]{16,} | xox[abeprs]-[A-Za-z0-9-]{10,} | A(KIA|SIA)[0-9A-Z]{16} | AIza[0-9A-Za-z_-]{30,}
      | npm_[A-Za-z0-9]{30,} | pypi-[A-Za-z0-9_-]{30,} | wandb_v\d_[A-Za-z0-9_]{20,}
      | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}
    )""",
    re.VERBOSE,
)
"""Tokens of Hugging Face, OpenAI, Anthropic, GitHub, GitLab, Slack, AWS, Google, npm, PyPI, and JSON Web Tokens."""
_SPOKEN = re.compile(
    r"""(?ix)\b( (?:bearer|authorization[\"']?[ \t]*[=:][ \t]*[\"']?basic)[ \t]+
      | (?:api[_-]?key|passw(?:or)?d|secret|token)[\"']?[ \t]*[=:][ \t]*[\"']? )
      (?=[^\s\"',;]*[\d.]) ([^\s\"',;]{8,})"""
)
"""A credential that is called one. With a digit or a dot in it: "password: required" is a sentence."""
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_ROOTS = (
    "home|Users|root|tmp|var|mnt|data|work|workspace|opt|srv|media|scratch|private|usr|etc|content|kaggle|lustre|gpfs"
    "|nfs|Volumes|projects?|storage|run|dev|proc|sys|net|app|efs|fsx|dbfs"
)
_PART = r"[^\s\"'`<>|*?:;,()\[\]{}\\/]+"
_PATH = re.compile(
    rf"(?:file://)?(?<![\w/.:$}}-])/(?:{_ROOTS})(?:/{_PART})+/?|(?<![\w])~/(?:{_PART}/?)+|file:///(?:{_PART}/?)+"
)
_WINDOWS = re.compile(rf"(?<!\w)[A-Za-z]:[\\/]+(?:{_PART}[\\/]*)+|\\\\{_PART}(?:\\+{_PART})+")
EXACT_KEYS = ("jinja", "chat_template", "pre_tokenizer", "normalizer", "decoder", "post_processor", "prompt_template")
"""Values that decide how a model is prompted."""


@dataclass
class Findings:
    """What was found in a file, by kind: `path`, `secret`. `exact` are those in values that must not be changed."""

    changed: Counter[str] = field(default_factory=Counter)
    exact: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return in_words(self.changed)


def in_words(counts: Mapping[str, int]) -> str:
    """`2 paths, 1 secret`."""
    return ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(counts.items()) if count)


class Redactor:
    """Takes out absolute paths, the directories `places` of this machine first of all, and `secrets`."""

    def __init__(self, places: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        known = sorted({place.rstrip("/") for place in places if len(place) > 3}, key=len, reverse=True)
        rest = rf"(?:/{_PART})*/?"
        any_place = "|".join(map(re.escape, known)) or r"(?!)"
        self._places = re.compile(rf"(?<![\w./-])(?:file://)?(?:{any_place})(?![\w.-]){rest}")
        words = sorted({each for each in secrets if len(each) >= _LEAST_SECRET}, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, words)) or r"(?!)")

    @classmethod
    def of_this_machine(cls, *places: Path | str) -> Self:
        """With the home directory, Camelid's, the working directory and `places`; with the values of environment
        variables that are secret by their names, and the token for the Hub."""
        from huggingface_hub import get_token

        values = [value for name, value in os.environ.items() if is_secret_variable(name) and _may_be_secret(value)]
        known = (Path.home(), home(), Path.cwd(), *places)
        return cls([str(each) for each in known if str(each)], [*values, get_token() or ""])

    def text(self, text: str, found: Counter[str]) -> str:
        """`text` without them; counted in `found`."""
        return self._paths(self.secrets(text, found), found)

    def secrets(self, text: str, found: Counter[str]) -> str:
        """`text` without secrets alone."""
        for pattern, by in ((_PRIVATE_KEY, MARK), (self._words, MARK), (_SECRETS, MARK), (_SPOKEN, rf"\1{MARK}")):
            text, count = pattern.subn(by, text)
            found["secret"] += count
        plain = without_userinfo("", text)
        found["secret"] += plain != text
        return plain

    def vocabulary(self, text: str, found: Counter[str]) -> None:
        """Count what cannot be a token by chance: secrets, and this machine's own directories."""
        self.secrets(text, found)
        found["path"] += len(self._places.findall(text))

    def values(self, values: Any, found: Findings, exact: bool = False) -> Any:
        """JSON values, keys too, without them."""
        if isinstance(values, dict):
            return {
                self._string(key, found, exact): self.values(item, found, exact or key in EXACT_KEYS)
                for key, item in values.items()
            }
        if isinstance(values, list):
            return [self.values(item, found, exact) for item in values]
        return self._string(values, found, exact) if isinstance(values, str) else values

    def _string(self, text: str, found: Findings, exact: bool) -> str:
        counts: Counter[str] = Counter()
        plain = self.text(text, counts)
        if plain == text and _is_absolute(text) and not exact:
            plain, counts["path"] = _last_part(text), 1
        (found.exact if exact else found.changed).update(counts)
        return text if exact else plain

    def _paths(self, text: str, found: Counter[str]) -> str:
        for pattern in (self._places, _WINDOWS, _PATH):
            text, count = pattern.subn(lambda match: _last_part(match[0]), text)
            found["path"] += count
        return text


def _may_be_secret(value: str) -> bool:
    """Variables with such names also hold names of people, switches and sockets."""
    word = value.isalpha() and len(value) < 2 * _LEAST_SECRET
    return not (word or re.search(r"\s", value) or value.startswith("/"))


def _is_absolute(text: str) -> bool:
    """Whether the whole text is an absolute path of two parts or more: one part may be anything, such as `/think`."""
    posix = PurePosixPath(text)
    return "\n" not in text and (
        (posix.is_absolute() and len(posix.parts) > 2 and not text.startswith("//"))
        or PureWindowsPath(text).drive != ""
    )


def _last_part(text: str) -> str:
    return re.split(r"[\\/]+", text.rstrip("\\/"))[-1]
