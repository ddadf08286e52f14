"""Renders untrusted chat templates in a sandbox like transformers' own, and in a subprocess with resource limits.

    python -m camelid_core.templates.sandbox        a JSON request on stdin, the answers on stdout

Knows Jinja and the `{% generation %}` tag; none of Camelid's templates. A chat template is a program: the sandbox
keeps it away from Python, the subprocess's limits bound its time and memory.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from camelid_core.errors import TemplateError
from camelid_core.subprocesses import child_environment, module_command

CPU_SECONDS = 2
WALL_SECONDS = 30
"""Longer than the limit on CPU time: the machine may be busy with something else."""
MEMORY_BYTES = 512 * 1024**2
TEXT_LIMIT = 1024**2
_NOW = "now"


class Rendered(NamedTuple):
    """`spans` are the (start, end) of what `{% generation %}` marked in `text`."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()


class RenderRequest(NamedTuple):
    """Turns to render, with a generation prompt or not; `now` is the time that the template sees (ISO 8601); with
    an empty one there is no `strftime_now`, and templates that look for it write a date of their own."""

    turns: list[dict[str, str]]
    prompt: bool
    now: str = "2020-02-02T02:02:02"


def render_in_sandbox(source: str, turns: list[dict[str, str]], values: Mapping[str, Any]) -> Rendered:
    """Render in this process: for trusted templates, those that Camelid exports."""
    template = _compile(source)
    given = values.get(_NOW)
    now = datetime.now() if given is None else datetime.fromisoformat(given) if given else None
    clock = {"strftime_now": now.strftime} if now else {}
    pieces = template.generate(messages=turns, tools=None, documents=None, **clock, **values)
    text: list[str] = []
    length = 0
    for piece in pieces:
        text.append(piece)
        length += len(piece)
        if length > TEXT_LIMIT:
            raise TemplateError(f"it writes more than {TEXT_LIMIT:,} characters.")
    return _extract_spans("".join(text))


_SPAN_START, _SPAN_END = (f"<{secrets.token_hex(16)}>" for _ in range(2))
"""They mark where a generation block begins and ends while a text is rendered; no message can contain them."""


def _extract_spans(text: str) -> Rendered:
    if _SPAN_START not in text:
        return Rendered(text)
    head, *blocks = text.split(_SPAN_START)
    clean, length = [head], len(head)
    spans: list[tuple[int, int]] = []
    for block in blocks:
        inside, _, outside = block.partition(_SPAN_END)
        begin = spans.pop()[0] if spans and spans[-1][1] == length else length
        if length + len(inside) > begin:
            spans.append((begin, length + len(inside)))
        clean += [inside, outside]
        length += len(inside) + len(outside)
    return Rendered("".join(clean), tuple(spans))


@lru_cache(maxsize=64)
def _compile(source: str) -> Any:
    """Compile in an environment as transformers builds it: the same white space, loop controls and functions."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationTag(Extension):
        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            opening = nodes.Output([nodes.TemplateData(_SPAN_START)], lineno=line)
            return [opening, *body, nodes.Output([nodes.TemplateData(_SPAN_END)], lineno=line)]

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    return environment.from_string(source)


def render_in_subprocess(source: str, requests: Sequence[RenderRequest], eos: str, bos: str) -> list[Rendered | str]:
    """Render all requests in one subprocess; an error message takes the place of each that the template refused.

    Raises:
        TemplateError: it is no Jinja, or took more time or memory than the limits.
    """
    job = {"source": source, "requests": requests, "eos": eos, "bos": bos}
    try:
        done = subprocess.run(
            module_command(__name__),
            env=child_environment(os.environ),
            input=json.dumps(job),
            capture_output=True,
            encoding="utf-8",
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TemplateError("the chat template is refused: it takes too long.") from None
    if done.returncode != 0:
        limits = f"{CPU_SECONDS} s and {MEMORY_BYTES // 1024**2} MB"
        raise TemplateError(f"the chat template is refused: it needs more than {limits}, or is no template at all.")
    return [_parse_answer(answer) for answer in json.loads(done.stdout)]


def _parse_answer(value: Any) -> Rendered | str:
    return value if isinstance(value, str) else Rendered(value[0], tuple((start, end) for start, end in value[1]))


def _set_resource_limits() -> None:
    """Limit the CPU time and memory of this process, where the system can."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    job = json.loads(sys.stdin.read())
    _set_resource_limits()
    tokens = {"eos_token": job["eos"], "bos_token": job["bos"]}
    answers: list[Any] = []
    for turns, prompt, now in job["requests"]:
        try:
            answers.append(
                render_in_sandbox(job["source"], turns, {**tokens, "add_generation_prompt": prompt, _NOW: now})
            )
        except Exception as error:
            answers.append(f"{error}"[:500])
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
