"""No path of this machine and no secret leaves: taken out of settings, refused in what decides the model."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from camelid_core.artefacts import read_artefact, verify_directory, write_manifest
from camelid_core.errors import ArtefactError
from camelid_train.publishing.file_selection import select_files
from camelid_train.publishing.local_hub import LocalHub
from camelid_train.publishing.publication import plan, publish
from camelid_train.publishing.publish_config import PublishConfig
from camelid_train.publishing.redaction import MARK, Redactor

SECRETS = {
    "hub": "hf_" + "aB3" * 8,
    "openai": "sk-proj-" + "x9Y" * 8,
    "github": "ghp_" + "k2" * 18,
    "amazon": "AKIA" + "Q7" * 8,
    "variable": "correct-horse-battery-9",
    "userinfo": "anna:hunter2word",
    "key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    "spoken": "password=opensesame77",
    "bearer": "Bearer abcdefgh.ijkl",
}
SPELLED = {**SECRETS, "userinfo": f"https://{SECRETS['userinfo']}@models.example/x"}
PATHS = {
    "home": "/home/anna/secret-project/weights",
    "mac": "/Users/anna/secret-project/weights",
    "windows": r"C:\Users\anna\secret-project\weights",
    "tilde": "~/secret-project/weights",
    "uri": "file:///srv/secret-project/weights",
    "data": "/mnt/secret-project/weights",
}
CANARIES = {**SPELLED, **PATHS}
HIDDEN = [*SECRETS.values(), "opensesame77", "hunter2word", "secret-project", "anna"]


@pytest.fixture(autouse=True)
def secret_variable(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", SECRETS["variable"])


@pytest.fixture
def redactor() -> Redactor:
    return Redactor.of_this_machine()


def assert_clean(data: bytes):
    for form in (data.decode(), data.decode().encode().decode("unicode_escape", errors="ignore")):
        assert not [word for word in HIDDEN if word in form]


@pytest.mark.parametrize("name", CANARIES)
def test_a_text_keeps_everything_but_the_canary(redactor, name):
    found: Counter[str] = Counter()
    before, after = (
        "It was made of ",
        ", and nothing else.\n\nSee https://example.org/docs/a/b and a/b/c, and/or <br/>.",
    )
    plain = redactor.text(before + CANARIES[name] + after, found)
    assert plain.startswith(before)
    assert plain.endswith(after)
    assert_clean(plain.encode())
    assert found.total() == 1
    assert ("weights" if name in PATHS else MARK if name != "userinfo" else "models.example") in plain


def test_what_is_no_path_and_no_secret_stays(redactor):
    text = (
        "and/or 1/2, https://huggingface.co/me/x/tree/main, [x](/me/x/tree/main), `hf_device_map`, sk-learn, </s>, "
        "application/json, /think, //, a // b, ~5, s/home/away/, tokens/s, ../relative/path, model/layers.0/weight\n"
        "Basic understanding, bearer certificates, the secret: patience, password: required, token: <s>, KEY=1\n"
    )
    found: Counter[str] = Counter()
    assert redactor.text(text, found) == text
    own = Redactor(["/srv/models"])
    assert own.text("https://x.org/srv/models/y and a/srv/models, /srv/models-2", found) == (
        "https://x.org/srv/models/y and a/srv/models, models-2"
    )
    assert own.text("at /srv/models/y: file:///srv/models, PATH=/bin/x:/srv/models/z", found) == (
        "at y: models, PATH=/bin/x:z"
    )
    values = {"eos_token": "</s>", "unit": "tokens/s", "switch": "/no_think", "id": "org/name", "n": 1, "list": ["/"]}
    from camelid_train.publishing.redaction import Findings

    assert redactor.values(values, Findings()) == values


TEXTS = {
    "config.json": "settings", "generation_config.json": "settings", "adapter_config.json": "settings",
    "tokenizer_config.json": "settings", "special_tokens_map.json": "settings", "quantize_config.json": "settings",
    "model.safetensors.index.json": "settings", "LICENSE.txt": "text", "NOTICE": "text", "USE_POLICY.md": "text",
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_canaries_in_every_file_of_settings_and_texts_are_taken_out(artefacts, tmp_path, name):
    directory = artefacts.adapter()
    path = directory / name
    if TEXTS[name] == "settings":
        values = json.loads(path.read_text()) if path.exists() else {}
        values |= {"canaries": CANARIES, "nested": [{"deep": list(CANARIES.values())}], CANARIES["home"]: 1}
        path.write_text(json.dumps(values))
    else:
        path.write_text("\n\n".join(CANARIES.values()))
    write_manifest(directory, read_artefact(directory).manifest)
    planned, found = published(directory, tmp_path)
    for each in planned.branches[0].files:
        if each.name.endswith((".json", ".md", ".txt", "NOTICE")):
            assert_clean(each.content)
    assert next(each for each in planned.branches[0].files if each.name == name).changed.startswith("without ")
    verify_directory(found)


def test_canaries_in_the_manifest_the_header_and_the_original_card_are_taken_out(artefacts, tmp_path):
    directory = artefacts.adapter(metrics={"note": " ".join(CANARIES.values()), "samples": [{"prompt": "row 17"}]})
    (artefacts.base / "README.md").write_text("---\nlicense: mit\n---\n# Theirs\n" + "\n".join(CANARIES.values()))
    try:
        header = tmp_path / "header.md"
        header.write_text("\n".join(CANARIES.values()))
        planned, found = published(directory, tmp_path, header=str(header))
    finally:
        (artefacts.base / "README.md").unlink()
    for each in planned.branches[0].files:
        if each.name in ("README.md", "camelid.json"):
            assert_clean(each.content)
            assert str(artefacts.root).encode() not in each.content
            assert str(artefacts.base.parent).encode() not in each.content
            assert b"row 17" not in each.content
    assert b"# Theirs" in (found / "README.md").read_bytes()
    assert len([text for text in planned.warnings if "taken out of" in text]) == 2


def published(directory, tmp_path, **more):
    target = LocalHub(tmp_path / "hub")
    planned = plan(PublishConfig(artefacts=[str(directory)], to=str(target.directory), name="me/run", **more), target)
    publish(planned, target, lambda done, total, what: None)
    (snapshot,) = (tmp_path / "hub/.cache/models--me--run/snapshots").iterdir()
    return planned, snapshot


@pytest.mark.parametrize(
    "place",
    ["chat_template.jinja", "tokenizer.json", "vocabulary", "merges.txt", "chat template", "metadata", "jinja"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["hub", "variable", "home"])
def test_what_decides_the_model_is_refused_and_never_changed(artefacts, redactor, place, name):
    import torch
    from safetensors.torch import save_file

    directory, canary = artefacts.adapter(), CANARIES[name]
    if place in ("vocabulary", "merges.txt") and name == "home":
        redactor = Redactor([canary])  # a directory of this machine; any other may be a token of any tokenizer
    if place in ("tokenizer.json", "vocabulary"):
        values = json.loads((directory / "tokenizer.json").read_text())
        inside, more = (values["model"]["vocab"], {canary: 1}) if place == "vocabulary" else (values, {"note": canary})
        inside |= more
        (directory / "tokenizer.json").write_text(json.dumps(values))
    elif place == "chat template":
        (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": f"x {canary} y"}))
    elif place == "metadata":
        save_file({"a": torch.ones(1)}, directory / "adapter_model.safetensors", {"format": "pt", "from": canary})
    elif place != "jinja":
        (directory / place).write_text(f"{{{{ 'x' }}}} {canary} y")
    manifest = read_artefact(directory).manifest
    if place == "jinja":
        template = manifest.template.model_copy(update={"jinja": f"{canary} {{{{ messages }}}}"})
        manifest = manifest.model_copy(update={"template": template})
    made = write_manifest(directory, manifest)
    from camelid_train.publishing.file_selection import published_manifest

    with pytest.raises(ArtefactError, match="cannot be changed without changing the model"):
        published_manifest(made.manifest, select_files(made, redactor).files, redactor)


@pytest.mark.parametrize("vocabulary", [False, True])
@pytest.mark.parametrize("name", ["home", "hub", "variable", "userinfo"])
@pytest.mark.parametrize("form", ["text", "list"])
def test_a_gguf_that_names_a_directory_or_holds_a_secret_is_refused(artefacts, vocabulary, name, form):
    """Lists of texts beside a vocabulary are searched for secrets and this machine's own directories."""
    from gguf import GGUFWriter

    redactor = Redactor.of_this_machine(*([CANARIES["home"]] if vocabulary and form == "list" else []))
    directory = artefacts.gguf("Q8_0")
    writer = GGUFWriter(directory / "run.Q8_0.gguf", "llama")
    if vocabulary:
        writer.add_array("tokenizer.ggml.tokens", ["://", "ing", "@", "/home/anna/x", "password:", "hf_", "token=1"])
    made = []
    for canary in ("", CANARIES[name]):
        if form == "text":
            writer.add_string(f"general.source.{len(made)}", canary or "org/name")
        else:
            writer.add_array(f"imatrix.{len(made)}", ["wikitext", canary or "org/name"])
        made.append(canary)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    made = write_manifest(directory, read_artefact(directory).manifest)
    with pytest.raises(ArtefactError, match="cannot be changed without changing the model"):
        select_files(made, redactor)
    clean = (directory / "run.Q8_0.gguf").read_bytes().replace(CANARIES[name].encode(), b"x" * len(CANARIES[name]))
    (directory / "run.Q8_0.gguf").write_bytes(clean)
    assert select_files(write_manifest(directory, made.manifest), Redactor.of_this_machine()).files


def test_files_without_anything_to_take_out_keep_their_bytes(artefacts, redactor):
    directory = artefacts.gptq(4, 32, True, "plain")
    selected = {each.name: each for each in select_files(read_artefact(directory), redactor).files}
    assert len(selected) == 6
    for name, each in selected.items():
        assert each.changed == ""
        assert each.content == (directory / name).read_bytes()
