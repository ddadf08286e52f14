"""The interactive loop of `camelid chat`: messages, slash commands, streamed answers.

Knows a terminal or a pipe, and chat sessions. Knows nothing of options and of how models are loaded.
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

from camelid_serve.answers import AnswerStats
from camelid_serve.chat.session import ChatSession
from camelid_serve.chat.transcripts import jsonl, markdown
from camelid_serve.presets import PRESETS, by_name, with_suffix

_FENCE = '"""'
_FINISH_TEXTS = {"stop": "complete", "length": "cut at max_new_tokens", "cancelled": "stopped"}


@dataclass(frozen=True)
class ChatLoop:
    """One conversation, with every session answering each message; `suffixes` are appended to all messages. Without
    `history` each message begins a conversation of its own."""

    sessions: Sequence[ChatSession]
    suffixes: Sequence[str] = ()
    history: bool = True

    def run(self, title: str) -> None:
        """Answer what is typed until input ends."""
        alone = "" if self.history else " Each message is answered alone."
        note(f"{title}.{alone} /help lists the commands.")
        for line in _messages(_lines()):
            word, _, rest = line.partition(" ")
            if line in ("/stop", "stop"):
                return
            try:
                self._execute("/clear" if line == "clear" else word, rest.strip(), line)
            except CamelidError as error:
                note(str(error))

    def answer(self, question: str | None) -> None:
        """Stream every session's answer to a message, or to the last one again. Ctrl-C cancels the answer only."""
        for session in self.sessions:
            if question is not None and not self.history:
                session.clear()
            if len(self.sessions) > 1:
                note("tuned:" if session.tuned else "base:")
            answer = session.retry() if question is None else session.send(self._with_suffixes(question))
            with contextlib.suppress(KeyboardInterrupt), contextlib.closing(answer):
                for text in answer:
                    typer.echo(text, nl=False)
            typer.echo()
            note(_footer(session.stats))

    def _with_suffixes(self, question: str) -> str:
        for suffix in self.suffixes:
            question = with_suffix(question, suffix)
        return question

    def _execute(self, word: str, rest: str, line: str) -> None:
        if word in _COMMANDS:
            _COMMANDS[word][0](self, rest)
        elif word.startswith("/") and word[1:].isalpha():
            note(f"There is no command {word!r}.\n{_help()}")
        else:
            self.answer(line)

    def help(self, _: str) -> None:
        note(_help())

    def clear(self, _: str) -> None:
        for session in self.sessions:
            session.clear()
        note("The conversation is cleared.")

    def retry(self, _: str) -> None:
        self.answer(None)

    def undo(self, _: str) -> None:
        for session in self.sessions:
            session.undo()
        left = sum(message.role == "user" for message in self.sessions[0].turns)
        note(f"The last message and its answer are removed; {left} {'is' if left == 1 else 'are'} left.")

    def system(self, text: str) -> None:
        for session in self.sessions:
            session.system = text
        self.clear("")

    def prefill(self, text: str) -> None:
        for session in self.sessions:
            session.prefill = text
        note(f"Answers now begin with {text!r}." if text else "Answers begin as the model begins them.")

    def preset(self, name: str) -> None:
        if not name:
            note("\n".join(f"{preset.name:<12}{preset.help}" for preset in PRESETS.values()))
            return
        preset = by_name("preset", name, PRESETS)
        for session in self.sessions:
            session.sampling = preset.applied(session.sampling, session.loaded.sampling)
        note(f"Answers are now sampled as {name}.")

    def save(self, name: str) -> None:
        path = validated_path(name, "file")
        if path.suffix.lower() not in _WRITERS:
            raise UsageError(f"{name!r}: /save takes a file that ends in {' or '.join(_WRITERS)}.")
        if path.exists():
            raise UsageError(f"{name!r} is there already; name another file.")
        text = _WRITERS[path.suffix.lower()]([session.transcript() for session in self.sessions])
        with atomic_file(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
        note(f"Saved as {str(path)!r}.")

    def last_prompt(self, _: str) -> None:
        for session in self.sessions[:1]:
            text, tokens = session.last_prompt()
            note(f"{text}\n({tokens} tokens)")


_WRITERS = {".md": markdown, ".jsonl": jsonl}
_COMMANDS: dict[str, tuple[Callable[[ChatLoop, str], None], str, str]] = {
    "/clear": (ChatLoop.clear, "", "clear the conversation; so does clear"),
    "/retry": (ChatLoop.retry, "", "regenerate the last answer"),
    "/undo": (ChatLoop.undo, "", "remove the last message and its answer"),
    "/system": (ChatLoop.system, "TEXT", "set the system message (without TEXT: remove it) and clear the conversation"),
    "/prefill": (
        ChatLoop.prefill,
        "TEXT",
        "begin every answer with TEXT, which is continued (without TEXT: no more)",
    ),
    "/preset": (ChatLoop.preset, "NAME", "use the sampling preset NAME (without NAME: list them)"),
    "/exact": (ChatLoop.last_prompt, "", "the last prompt as the model was given it"),
    "/save": (ChatLoop.save, "FILE", "save the conversation: .md to read, .jsonl to train on"),
    "/help": (ChatLoop.help, "", "this list"),
}


def _help() -> str:
    lines = [f"{f'{word} {argument}':<14}{help}" for word, (_, argument, help) in _COMMANDS.items()]
    lines.append(f"{_FENCE:<14}begins and ends a message of several lines")
    return "\n".join([*lines, f"{'/stop':<14}end the program, as stop does; Ctrl-C cancels only the running answer"])


def _footer(stats: AnswerStats | None) -> str:
    if stats is None:
        return "(stopped)"
    speed = f"{stats.tokens_per_second:.1f} tokens/s · first after {stats.first_token:.2f} s"
    return f"({stats.tokens} tokens · {speed} · {_FINISH_TEXTS[stats.finish]})"


def _messages(lines: Iterator[str]) -> Iterator[str]:
    """Lines as they are, and what stands between two lines of `\"\"\"` as one message of several lines."""
    for line in lines:
        line = line.strip()
        if not line.startswith(_FENCE):
            if line:
                yield line
            continue
        block, closed = [line.removeprefix(_FENCE)], len(line) > 2 * len(_FENCE) - 1 and line.endswith(_FENCE)
        while not closed and (more := next(lines, None)) is not None:
            block.append(more)
            closed = more.rstrip().endswith(_FENCE)
        message = "\n".join(block).rstrip()
        if not closed:
            note(f"The input ended before a second {_FENCE}; what was typed is taken as one message.")
        message = message.removesuffix(_FENCE).strip("\n")
        if message.strip():
            yield message


def _lines() -> Iterator[str]:
    """Lines: with a prompt and editing on a terminal, plain from a pipe."""
    terminal = sys.stdin.isatty()
    if terminal:
        import readline  # noqa: F401 - gives `input` editing and history
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # so that an invalid byte spoils one line only
    while True:
        try:
            line = input("> " if terminal else "").rstrip()
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
        yield line


def note(text: str) -> None:
    """Print to stderr what is not an answer: stdout has answers only."""
    typer.secho(text, err=True, dim=True)
