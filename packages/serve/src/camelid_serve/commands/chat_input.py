"""What can be typed in `camelid chat` besides questions, and the asking itself.

Knows a terminal or a pipe, and sessions. Knows nothing of options and of how models are loaded.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper

import typer
from camelid_core.errors import CamelidError, UsageError
from camelid_core.paths import validated_path
from camelid_core.writers.file_formats import atomic_file

from camelid_serve.chat.session import ChatSession
from camelid_serve.chat.transcripts import jsonl, markdown
from camelid_serve.generation import AnswerStats
from camelid_serve.presets import PRESETS, named, with_suffix

_ENDS = {"stop": "complete", "length": "cut at max_new_tokens", "cancelled": "stopped"}


@dataclass(frozen=True)
class Conversing:
    """One conversation, with every session answering each question; `suffixes` go behind all of them."""

    sessions: Sequence[ChatSession]
    suffixes: Sequence[str] = ()

    def talk(self, title: str) -> None:
        """Ask what is typed until it ends."""
        note(f"{title}. /help shows what you can type besides questions.")
        for line in _lines():
            word, _, rest = line.partition(" ")
            if line in ("/stop", "stop"):
                return
            try:
                self._obey("/clear" if line == "clear" else word, rest.strip(), line)
            except CamelidError as error:
                note(str(error))

    def ask(self, question: str | None) -> None:
        """Stream every session's answer to a question, or to the last one again. Ctrl-C ends the answer alone."""
        for session in self.sessions:
            if len(self.sessions) > 1:
                note("tuned:" if session.tuned else "base:")
            answer = session.retry() if question is None else session.send(self._whole(question))
            with contextlib.suppress(KeyboardInterrupt), contextlib.closing(answer):
                for text in answer:
                    typer.echo(text, nl=False)
            typer.echo()
            note(_footer(session.stats))

    def _whole(self, question: str) -> str:
        for suffix in self.suffixes:
            question = with_suffix(question, suffix)
        return question

    def _obey(self, word: str, rest: str, line: str) -> None:
        if word in _COMMANDS:
            _COMMANDS[word][0](self, rest)
        elif word.startswith("/") and word[1:].isalpha():
            note(f"There is no command {word!r}.\n{_help()}")
        else:
            self.ask(line)

    def help(self, _: str) -> None:
        note(_help())

    def clear(self, _: str) -> None:
        for session in self.sessions:
            session.clear()
        note("The conversation begins anew.")

    def retry(self, _: str) -> None:
        self.ask(None)

    def undo(self, _: str) -> None:
        for session in self.sessions:
            session.undo()
        left = sum(message.role == "user" for message in self.sessions[0].turns)
        note(f"The last question and its answer are forgotten; {left} {'is' if left == 1 else 'are'} left.")

    def system(self, text: str) -> None:
        for session in self.sessions:
            session.system = text
        self.clear("")

    def preset(self, name: str) -> None:
        if not name:
            note("\n".join(f"{preset.name:<12}{preset.help}" for preset in PRESETS.values()))
            return
        preset = named("preset", name, PRESETS)
        for session in self.sessions:
            session.sampling = preset.applied(session.sampling, session.loaded.sampling)
        note(f"Answers are now sampled as {name}.")

    def save(self, name: str) -> None:
        path = validated_path(name, "file")
        if path.suffix.lower() not in _FORMS:
            raise UsageError(f"{name!r}: /save takes a file that ends in {' or '.join(_FORMS)}.")
        if path.exists():
            raise UsageError(f"{name!r} is there already; name another file.")
        text = _FORMS[path.suffix.lower()]([session.transcript() for session in self.sessions])
        with atomic_file(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
        note(f"Saved as {str(path)!r}.")

    def exact(self, _: str) -> None:
        for session in self.sessions[:1]:
            text, tokens = session.exact()
            note(f"{text}\n({tokens} tokens)")


_FORMS = {".md": markdown, ".jsonl": jsonl}
_COMMANDS: dict[str, tuple[Callable[[Conversing, str], None], str, str]] = {
    "/clear": (Conversing.clear, "", "forget the conversation; so does clear"),
    "/retry": (Conversing.retry, "", "answer the last question anew"),
    "/undo": (Conversing.undo, "", "forget the last question and its answer"),
    "/system": (Conversing.system, "TEXT", "set the system text (without TEXT: remove it) and begin anew"),
    "/preset": (Conversing.preset, "NAME", "sample as NAME says (without NAME: list them)"),
    "/exact": (Conversing.exact, "", "the last question as the model was given it"),
    "/save": (Conversing.save, "FILE", "keep the conversation: .md to read, .jsonl to train on"),
    "/help": (Conversing.help, "", "this list"),
}


def _help() -> str:
    lines = [f"{f'{word} {argument}':<14}{help}" for word, (_, argument, help) in _COMMANDS.items()]
    return "\n".join([*lines, f"{'/stop':<14}end the program, as stop does; Ctrl-C ends only the answer under way"])


def _footer(stats: AnswerStats | None) -> str:
    if stats is None:
        return "(stopped)"
    rate = f"{stats.tokens_per_second:.1f} tokens/s · first after {stats.first_token:.2f} s"
    return f"({stats.tokens} tokens · {rate} · {_ENDS[stats.finish]})"


def _lines() -> Iterator[str]:
    """Non-empty lines: with a prompt and editing on a terminal, plain from a pipe."""
    terminal = sys.stdin.isatty()
    if terminal:
        import readline  # noqa: F401 - gives `input` editing and history
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # so that a byte out of place spoils one line alone
    while True:
        try:
            line = input("> " if terminal else "").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            if not terminal:
                raise
            note("\n/stop or Ctrl-D ends the program.")
            continue
        try:
            line.encode()
        except UnicodeEncodeError:
            note("That line is not UTF-8 and was left out.")
            continue
        if line:
            yield line


def note(text: str) -> None:
    """What is not an answer goes to stderr: a script reads answers alone."""
    typer.secho(text, err=True, dim=True)
