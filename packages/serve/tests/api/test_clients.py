"""A real model behind the API, with its usual clients: openai's, lm-eval's requests, curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from camelid_core.records import Message
from camelid_serve.api.limits import Limits
from camelid_serve.engine import Sampling
from camelid_serve.engine_process.client import EngineProcess
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel

pytestmark = pytest.mark.slow

KEY = "open-sesame"
HELLO = [{"role": "user", "content": "Hello?"}]


@pytest.fixture(scope="module")
def real(base: Path, adapter: Path, served_class: Any) -> Iterator[Any]:
    served = served_class({"tuned": str(adapter), "plain": str(base)}, Limits(), EngineProcess(), [KEY])
    served.start()
    yield served
    served.stop()


@pytest.fixture
def client(real: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["tuned", "plain"])
def test_openais_client_gets_the_engines_answers(client: openai.OpenAI, tuned: LoadedModel, model: str) -> None:
    sampling = Sampling(max_new_tokens=12)
    prompt = tuned.prompt_ids([Message("user", "Hello?")])
    said = list(generate(tuned, [prompt], sampling, model == "tuned"))[-1].answer
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=12, temperature=0)
    assert answer.choices[0].message.content == said
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), 12)
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, max_tokens=12, temperature=0, **options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == said
    assert chunks[-1].usage == answer.usage


def test_a_seed_settles_a_sampled_answer(client: openai.OpenAI) -> None:
    def say(**more: Any) -> list[str | None]:
        answer = client.chat.completions.create(
            model="tuned", messages=HELLO, max_tokens=12, temperature=1.0, n=2, **more
        )
        return [choice.message.content for choice in answer.choices]

    first = say(seed=7)
    assert first == say(seed=7)
    assert first[0] != first[1]
    assert say(seed=8)[0] == first[1]
    assert say() != say()


def test_openais_client_reads_our_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nope", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="tuned", messages=[{"role": "user", "content": "word " * 3000}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    assert [model.id for model in client.models.list()] == ["tuned", "plain"]


def test_probabilities_of_a_chat_are_the_models(client: openai.OpenAI, tuned: LoadedModel, plain_logits: Any) -> None:
    answer = client.chat.completions.create(
        model="plain", messages=HELLO, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content  # type: ignore[union-attr]
    assert content is not None
    assert len(content) == 6
    ids = tuned.prompt_ids([Message("user", "Hello?")])
    for token in content:
        shares = plain_logits(ids)[-1].log_softmax(-1)
        best = int(shares.argmax())
        assert token.logprob == pytest.approx(float(shares[best]), abs=1e-3)
        assert [each.logprob for each in token.top_logprobs] == pytest.approx(shares.topk(3).values.tolist(), abs=1e-3)
        ids = [*ids, best]


@pytest.fixture(scope="module")
def plain_logits(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()

    def logits(ids: list[Any]) -> torch.Tensor:
        """Of one sequence, or of several of one length."""
        given = torch.tensor(ids)
        with torch.inference_mode():
            found = model(given if given.ndim == 2 else given[None]).logits
        return found if given.ndim == 2 else found[0]

    return logits


@pytest.mark.parametrize("longest", [0, 1])
def test_lm_evals_loglikelihood(real: Any, plain_logits: Any, longest: int) -> None:
    """The request and the reading of the answer are those of `lm_eval/models/openai_completions.py`."""
    prompts, contexts = [[65, 66, 67, 68, 69, 70], [71, 72, 73, 74]], [4, 2]
    payload = {"model": "plain", "prompt": prompts, "temperature": 0, "max_tokens": longest}
    payload |= {"logprobs": 1, "seed": 1234, "echo": True}
    out = real.post("/v1/completions", payload).json()
    for choice, ids, context in zip(sorted(out["choices"], key=itemgetter("index")), prompts, contexts, strict=True):
        found = choice["logprobs"]["token_logprobs"]
        likeliest = choice["logprobs"]["top_logprobs"]
        shares = plain_logits(ids).log_softmax(-1)
        expected = [float(shares[at - 1, ids[at]]) for at in range(1, len(ids))]
        assert found[0] is None
        assert found[1 : len(ids)] == pytest.approx(expected, abs=1e-3)
        greedy = [at for at in range(1, len(ids)) if found[at] == max(likeliest[at].values())]
        assert greedy == [at for at in range(1, len(ids)) if int(shares[at - 1].argmax()) == ids[at]]
        assert len(found) == len(ids) + longest
        if longest:  # lm-eval leaves the last one out, and sums what follows the context
            assert sum(found[context:-1]) == pytest.approx(sum(expected[context - 1 :]), abs=1e-3)
            assert found[-1] == pytest.approx(float(shares[-1].max()), abs=1e-3)


def test_the_token_that_ends_an_answer_counts_only_beside_the_prompts(real: Any, plain_logits: Any) -> None:
    """The tiny model's first choice after these ids is its end: a real case of lm-eval's last token."""
    ids, eos = ends_after(plain_logits)
    body = {"model": "plain", "prompt": ids, "max_tokens": 4, "temperature": 0, "logprobs": 0}
    plain = real.post("/v1/completions", body).json()["choices"][0]
    assert (plain["text"], plain["finish_reason"], plain["logprobs"]["tokens"]) == ("", "stop", [])
    for longest in (1, 4):
        echoed = real.post("/v1/completions", body | {"echo": True, "max_tokens": longest}).json()["choices"][0]
        assert echoed["finish_reason"] == "stop"
        assert len(echoed["logprobs"]["tokens"]) == len(ids) + 1
        assert echoed["logprobs"]["tokens"][-1] == eos


def ends_after(logits: Any) -> tuple[list[int], str]:
    """Ids after which the end of the sequence (id 1 of the tiny tokenizer) is likeliest."""
    pairs = torch.cartesian_prod(torch.arange(5, 400), torch.arange(5, 25))
    ends = (logits(pairs.tolist())[:, -1].argmax(-1) == 1).nonzero()
    assert len(ends), "no such ids"
    return pairs[int(ends[0])].tolist(), "<|im_end|>"


def test_lm_evals_generate_until(real: Any) -> None:
    payload = {"prompt": [[65, 66, 67]], "model": "plain", "max_tokens": 16, "temperature": 0}
    payload |= {"stop": ["\n\n", "</s>"], "seed": 1234}
    choice = real.post("/v1/completions", payload).json()["choices"][0]
    assert choice["text"]
    assert choice["finish_reason"] in ("length", "stop")
    both = real.post("/v1/completions", payload | {"echo": True, "logprobs": 2}).json()["choices"][0]
    assert both["text"].endswith(choice["text"])
    logprobs = both["logprobs"]
    assert len({len(part) for part in logprobs.values()}) == 1
    places = zip(logprobs["tokens"], logprobs["text_offset"], strict=True)
    assert all(both["text"].startswith(token, at) for token, at in places if not token.startswith(("bytes:", "<|")))


def test_text_prompts_are_read_as_the_tokenizer_reads_them(real: Any, tuned: LoadedModel) -> None:
    """Control tokens in a prompt for completions are the caller's own; in a chat they would be text."""
    eos = tuned.encoder.tokenizer.eos_token
    body = {"model": "plain", "max_tokens": 1, "temperature": 0}
    counted = real.post("/v1/completions", body | {"prompt": f"a{eos}b"}).json()["usage"]["prompt_tokens"]
    assert counted == 3
    chat = {"model": "plain", "max_tokens": 1}
    quiet, loud = (
        real.post("/v1/chat/completions", chat | {"messages": [{"role": "user", "content": text}]}).json()["usage"]
        for text in ("ab", f"a{eos}b")
    )
    assert loud["prompt_tokens"] > quiet["prompt_tokens"] + 1


def test_curl(real: Any) -> None:
    curl = shutil.which("curl")
    assert curl is not None, "install curl"
    command = [curl, "-sS", "-N", f"{real.url}/v1/chat/completions", "-H", f"Authorization: Bearer {KEY}"]
    body = json.dumps({"messages": HELLO, "max_tokens": 3, "stream": True})
    done = subprocess.run(
        [*command, "-H", "Content-Type: application/json", "-d", body], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("data: [DONE]\n\n")
