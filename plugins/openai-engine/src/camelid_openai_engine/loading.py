"""A model → an engine: connect to the server that has it, or start one that does.

Knows what is asked of a server once, before the first request: who it is, what it calls the model, how long its
context is, and whether it gives token ids. Knows nothing of requests and of how servers are kept alive.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.loading import Dtype, load_tokenizer
from camelid_core.models.reference import Reference
from camelid_core.models.rope import context_length
from camelid_core.paths import home
from camelid_serve.engine import GREEDY, Engine, Report

from .adapters import Listed, Managed, Roster, label, weights_of
from .engine import HttpEngine, Loop
from .flavours import FLAVOURS, GENERIC, Flavour, flavour_of
from .options import ClientOptions, ServerOptions
from .server import Server, find_program
from .text_to_ids import encode, prompt_text
from .upstream import Address, Fixed, Refused, Upstream, on_loopback
from .wire_formats import DIALECTS, Piece, Wanted


def connect(reference: Reference, dtype: Dtype, slots: int, options: ClientOptions, report: Report) -> Engine:
    """An engine on a server that runs already. What its weights are stored as is that server's affair."""
    with _Opening(Fixed(options.url), options.key(), slots, on_loopback(options.url)) as opening:
        known = opening.models()
        names = [each.name for each in known]
        flavour = FLAVOURS[options.flavour] if options.flavour else flavour_of(known[0].owner if known else "")
        where = f"{flavour.title} at {options.url}"
        name = _name_there(names, reference, options.model, where)
        report(f"{where} answers as {name!r}. {flavour.exact}")
        if reference.peft is None:
            return opening.engine(reference, flavour, name, known, Listed(names, where), report)
        base = _name_of_base(names, reference, name)
        engine = opening.engine(reference, flavour, base, known, Listed(names, where), report, name)
        engine.name_adapter(name, name)
        return engine


def _start(
    flavour: Flavour, reference: Reference, dtype: Dtype, slots: int, options: ServerOptions, report: Report
) -> Engine:
    start = flavour.start
    assert start is not None
    name = options.model or label(reference.base_id)
    values = {"name": name, "dtype": dtype, "slots": slots, **weights_of(reference, flavour.title, start)}
    roster = Managed(flavour.title, start, name, flavour.adapter_model)
    adapter = roster.add(reference) if reference.peft is not None else None
    program = find_program(options.program or start.program, flavour.title, start.install)
    more = shlex.split(options.arguments)
    key = secrets.token_urlsafe(24) if start.key_variable else ""

    def command(port: int) -> Sequence[str]:
        filled = (part.format(port=port, **values) for part in start.arguments)
        return [program, *filled, *roster.arguments(), *more]

    def environment(port: int) -> Mapping[str, str]:
        own = {variable: text.format(port=port, **values) for variable, text in start.environment.items()}
        return own | options.environment | ({start.key_variable: key} if key else {})

    log = home() / "logs" / f"{flavour.name}.log"
    server = Server(flavour.title, command, environment, start.health, log, options.start_seconds, key)
    server.start(report)
    try:
        with _Opening(server, key, slots, loopback=True, on_close=server.close) as opening:
            known = opening.models()
            there = _name_there([each.name for each in known], reference, name, flavour.title)
            engine = opening.engine(reference, flavour, there, known, roster, report)
    except BaseException:
        server.close()
        raise
    if adapter is not None:
        engine.name_adapter(*adapter)
    roster.post = engine.post
    return engine


start_vllm = partial(_start, FLAVOURS["vllm"])
start_sglang = partial(_start, FLAVOURS["sglang"])
start_llama_server = partial(_start, FLAVOURS["llama-server"])
start_ollama = partial(_start, FLAVOURS["ollama"])


@dataclass(frozen=True, slots=True)
class _Model:
    """A model as the server lists it."""

    name: str
    owner: str
    context: int | None


@dataclass
class _Opening:
    """A connection on its way to be an engine; closed again unless it becomes one."""

    address: Address
    key: str
    slots: int
    loopback: bool
    on_close: Callable[[], None] = lambda: None
    _loop: Loop = field(init=False)
    _upstream: Upstream = field(init=False)

    def __enter__(self) -> _Opening:
        self._loop = Loop()
        self._upstream = Upstream(self.address, self.key, self.slots, self.loopback)
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._loop.run(self._upstream.close())
            self._loop.close()

    def models(self) -> list[_Model]:
        """What the server lists; nothing where it has no list."""
        said = self._loop.run(self._upstream.get("/v1/models"))
        entries = said.get("data") if isinstance(said, dict) else None
        return [
            _Model(str(each["id"]), str(each.get("owned_by", "")), _whole(each.get("max_model_len")))
            for each in entries or ()
            if isinstance(each, dict) and "id" in each
        ]

    def engine(
        self,
        reference: Reference,
        flavour: Flavour,
        base: str,
        known: Sequence[_Model],
        roster: Roster,
        report: Report,
        asked: str = "",
    ) -> HttpEngine:
        """`asked` is what is asked once for a token; empty is the base."""
        tokenizer = load_tokenizer(reference)
        longest = self._context(reference, flavour, asked or base, known)
        prompt_as = self._probe(flavour, asked or base, tokenizer, longest, report)
        return HttpEngine(
            self._loop,
            self._upstream,
            flavour,
            base,
            tokenizer,
            longest,
            self.slots,
            roster,
            prompt_as,
            self.on_close,
        )

    def _context(self, reference: Reference, flavour: Flavour, name: str, known: Sequence[_Model]) -> int:
        """The shortest that anybody names."""
        path, *keys = flavour.context_at or ("",)
        there: Any = self._loop.run(self._upstream.get(path)) if path else None
        for key in keys:
            there = there.get(key) if isinstance(there, dict) else None
        listed = next((each.context for each in known if each.name == name), None)
        named = [flavour.context_most, context_length(reference.config), _whole(there), listed]
        return min(each for each in named if each)

    def _probe(self, flavour: Flavour, name: str, tokenizer: Any, longest: int, report: Report) -> str:
        """One token, to see how prompts are taken and what comes back; says how prompts are to be sent."""
        ids = encode(tokenizer, "Hi") or [0]
        ways = {"ids": ids, "text": prompt_text(tokenizer, ids)}
        wanted = [flavour.prompt] if flavour is not GENERIC else ["ids", "text"]
        for way in wanted:
            try:
                piece = self._loop.run(self._first(flavour, name, ways[way], longest))
            except Refused:
                if way == wanted[-1]:
                    raise
                report(f"{flavour.title} takes no token ids; prompts are written out as text.")
                continue
            if piece.ids is None and flavour.always.get("return_token_ids"):
                report(f"{flavour.title} gives no token ids (an older version?); answers are encoded again.")
            return way
        raise AssertionError

    async def _first(self, flavour: Flavour, name: str, prompt: Any, longest: int) -> Piece:
        sampling = GREEDY.model_copy(update={"max_new_tokens": 1})
        dialect = DIALECTS[flavour.dialect]
        body = dialect.ask(flavour, Wanted(name, prompt, sampling, 1, frozenset(), None, longest))
        last = Piece()
        async with aclosing(self._upstream.answer(dialect, body, lambda text: None)) as pieces:
            async for piece in pieces:
                last = piece if piece.text or piece.ids else last
        return last


def _name_there(names: Sequence[str], reference: Reference, wanted: str, where: str) -> str:
    """What the server calls the model.

    Raises:
        ModelError: it lists others alone, and more than one of them.
    """
    ours = [wanted] if wanted else [reference.name, label(reference.name), reference.base_id]
    for name in ours[: 3 if reference.peft is None else 2]:
        if name in names or not names:
            return name
    if len(names) == 1 and not wanted and reference.peft is None:
        return names[0]
    listed = ", ".join(map(repr, names[:8]))
    raise ModelError(f"{where} has no model {wanted or ours[1]!r}; it lists {listed}. Name one of them: model=NAME.")


def _name_of_base(names: Sequence[str], reference: Reference, adapter: str) -> str:
    """Empty where the server does not list it."""
    ours = (reference.base_id, label(reference.base_id), str(reference.base), label(str(reference.base)))
    return next((name for name in ours if name in names and name != adapter), "")


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
