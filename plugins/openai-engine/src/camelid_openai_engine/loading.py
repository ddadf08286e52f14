"""A model → an engine: connect to the server that has it, or start one that does.

Knows what is queried once from a server, before the first request: its flavour, its name for the model, its context
length, and whether it sends token ids. Knows nothing of requests and of how servers are kept alive.
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
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.rope import context_length
from camelid_core.paths import home
from camelid_serve.engine import GREEDY, Engine, Report

from .adapters import AdapterRegistry, ListedAdapters, ManagedAdapters, label, weights_for
from .engine import EventLoopThread, HttpEngine
from .flavours import FLAVOURS, GENERIC, Flavour, flavour_of
from .options import ClientOptions, ServerOptions
from .server import ServerProcess, find_program
from .text_to_ids import encode, prompt_text
from .upstream import FixedAddress, Refused, ServerAddress, Upstream, on_loopback
from .wire_formats import WIRE_FORMATS, CompletionChunk, CompletionSpec


def connect(resolved: ResolvedModel, dtype: Dtype, slots: int, options: ClientOptions, report: Report) -> Engine:
    """An engine on a server that runs already. The dtype of its weights is chosen there."""
    with _ServerConnection(FixedAddress(options.url), options.key(), slots, on_loopback(options.url)) as connection:
        known = connection.models()
        names = [each.name for each in known]
        flavour = FLAVOURS[options.flavour] if options.flavour else flavour_of(known[0].owner if known else "")
        where = f"{flavour.title} at {options.url}"
        name = _server_model_name(names, resolved, options.model, where)
        report(f"{where} answers as {name!r}. {flavour.exact}")
        if resolved.adapter_dir is None:
            return connection.engine(resolved, flavour, name, known, ListedAdapters(names, where), report)
        base = _server_base_name(names, resolved, name)
        engine = connection.engine(resolved, flavour, base, known, ListedAdapters(names, where), report, name)
        engine.name_adapter(name, name)
        return engine


def _start(
    flavour: Flavour, resolved: ResolvedModel, dtype: Dtype, slots: int, options: ServerOptions, report: Report
) -> Engine:
    start = flavour.launch
    assert start is not None
    name = options.model or label(resolved.base_id)
    values = {"name": name, "dtype": dtype, "slots": slots, **weights_for(resolved, flavour.title, start)}
    registry = ManagedAdapters(flavour.title, start, name, flavour.adapter_model)
    adapter = registry.add(resolved) if resolved.adapter_dir is not None else None
    program = find_program(options.program or start.program, flavour.title, start.install)
    more = shlex.split(options.arguments)
    key = secrets.token_urlsafe(24) if start.key_variable else ""

    def command(port: int) -> Sequence[str]:
        filled = (part.format(port=port, **values) for part in start.arguments)
        return [program, *filled, *registry.arguments(), *more]

    def environment(port: int) -> Mapping[str, str]:
        own = {variable: text.format(port=port, **values) for variable, text in start.environment.items()}
        return own | options.environment | ({start.key_variable: key} if key else {})

    log = home() / "logs" / f"{flavour.name}.log"
    server = ServerProcess(flavour.title, command, environment, start.health, log, options.start_seconds, key)
    server.start(report)
    try:
        with _ServerConnection(server, key, slots, loopback=True, on_close=server.close) as connection:
            known = connection.models()
            there = _server_model_name([each.name for each in known], resolved, name, flavour.title)
            engine = connection.engine(resolved, flavour, there, known, registry, report)
    except BaseException:
        server.close()
        raise
    if adapter is not None:
        engine.name_adapter(*adapter)
    registry.post = engine.post
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
class _ServerConnection:
    """A connection from which an engine is made; closed again if that fails."""

    address: ServerAddress
    key: str
    slots: int
    loopback: bool
    on_close: Callable[[], None] = lambda: None
    _loop: EventLoopThread = field(init=False)
    _upstream: Upstream = field(init=False)

    def __enter__(self) -> _ServerConnection:
        self._loop = EventLoopThread()
        self._upstream = Upstream(self.address, self.key, self.slots, self.loopback)
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._loop.run(self._upstream.close())
            self._loop.close()

    def models(self) -> list[_Model]:
        """What the server lists; nothing where it has no list."""
        listing = self._loop.run(self._upstream.get("/v1/models"))
        entries = listing.get("data") if isinstance(listing, dict) else None
        return [
            _Model(str(each["id"]), str(each.get("owned_by", "")), _positive_int(each.get("max_model_len")))
            for each in entries or ()
            if isinstance(each, dict) and "id" in each
        ]

    def engine(
        self,
        resolved: ResolvedModel,
        flavour: Flavour,
        base: str,
        known: Sequence[_Model],
        registry: AdapterRegistry,
        report: Report,
        probed: str = "",
    ) -> HttpEngine:
        """`probed` is the model that is probed for one token; empty is the base."""
        tokenizer = load_tokenizer(resolved)
        longest = self._context(resolved, flavour, probed or base, known)
        prompt_as = self._probe(flavour, probed or base, tokenizer, longest, report)
        return HttpEngine(
            self._loop,
            self._upstream,
            flavour,
            base,
            tokenizer,
            longest,
            self.slots,
            registry,
            prompt_as,
            self.on_close,
        )

    def _context(self, resolved: ResolvedModel, flavour: Flavour, name: str, known: Sequence[_Model]) -> int:
        """The context length: the shortest that the server, the model or the flavour names."""
        path, *keys = flavour.context_at or ("",)
        there: Any = self._loop.run(self._upstream.get(path)) if path else None
        for key in keys:
            there = there.get(key) if isinstance(there, dict) else None
        listed = next((each.context for each in known if each.name == name), None)
        named = [flavour.context_most, context_length(resolved.config), _positive_int(there), listed]
        return min(each for each in named if each)

    def _probe(self, flavour: Flavour, name: str, tokenizer: Any, longest: int, report: Report) -> str:
        """Generate one token, to see which prompts the server takes and what it sends; returns how to send prompts."""
        ids = encode(tokenizer, "Hi") or [0]
        ways = {"ids": ids, "text": prompt_text(tokenizer, ids)}
        wanted = [flavour.prompt] if flavour is not GENERIC else ["ids", "text"]
        for way in wanted:
            try:
                chunk = self._loop.run(self._first(flavour, name, ways[way], longest))
            except Refused:
                if way == wanted[-1]:
                    raise
                report(f"{flavour.title} takes no token ids; prompts are written out as text.")
                continue
            if chunk.ids is None and flavour.always.get("return_token_ids"):
                report(f"{flavour.title} gives no token ids (an older version?); answers are encoded again.")
            return way
        raise AssertionError

    async def _first(self, flavour: Flavour, name: str, prompt: Any, longest: int) -> CompletionChunk:
        sampling = GREEDY.model_copy(update={"max_new_tokens": 1})
        wire_format = WIRE_FORMATS[flavour.wire_format]
        body = wire_format.build_request(flavour, CompletionSpec(name, prompt, sampling, 1, frozenset(), None, longest))
        last = CompletionChunk()
        async with aclosing(self._upstream.answer(wire_format, body, lambda text: None)) as chunks:
            async for chunk in chunks:
                last = chunk if chunk.text or chunk.ids else last
        return last


def _server_model_name(names: Sequence[str], resolved: ResolvedModel, wanted: str, where: str) -> str:
    """The server's name for the model.

    Raises:
        ModelError: it lists others alone, and more than one of them.
    """
    ours = [wanted] if wanted else [resolved.name, label(resolved.name), resolved.base_id]
    for name in ours[: 3 if resolved.adapter_dir is None else 2]:
        if name in names or not names:
            return name
    if len(names) == 1 and not wanted and resolved.adapter_dir is None:
        return names[0]
    listed = ", ".join(map(repr, names[:8]))
    raise ModelError(f"{where} has no model {wanted or ours[1]!r}; it lists {listed}. Name one of them: model=NAME.")


def _server_base_name(names: Sequence[str], resolved: ResolvedModel, adapter: str) -> str:
    """Empty where the server does not list it."""
    ours = (resolved.base_id, label(resolved.base_id), str(resolved.base), label(str(resolved.base)))
    return next((name for name in ours if name in names and name != adapter), "")


def _positive_int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
