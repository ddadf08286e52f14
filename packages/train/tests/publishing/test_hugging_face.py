"""The Hub as a target: huggingface_hub's own requests, to a small server that answers them as the Hub does.

A branch changes in one commit or not at all; a retry uploads what is missing and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.errors import JobError
from camelid_train.publishing.hugging_face import HuggingFace
from camelid_train.publishing.outgoing_file import OutgoingFile
from camelid_train.publishing.publication import plan, publish
from camelid_train.publishing.publish_config import PublishConfig

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's uploads
TOKEN = "hf_" + "testtest" * 4
BRANCH = "gptq-4bit-32g-actorder_True"
QUIET = lambda *_: None  # noqa: E731


class Repository:
    """Branches, each a list of commits, oldest first: (number, name → bytes)."""

    def __init__(self, private: bool) -> None:
        self.private, self.large = private, {}
        self.branches = {"main": [("a" * 40, {".gitattributes": b"*.safetensors filter=lfs\n"})]}

    def commit(self, number: str) -> dict[str, bytes]:
        return next(files for log in self.branches.values() for found, files in log if found == number)


class Server(ThreadingHTTPServer):
    """The Hub's routes that publishing needs. `refuse` is (method and path as a pattern, status): what it refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.refuse: tuple[str, int] | None = None
        self.numbers = (f"{number:040x}" for number in itertools.count(1))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def tip(self, name: str, branch: str) -> tuple[str, dict[str, bytes]]:
        return self.repositories[name].branches[branch][-1]


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, values: object = None, data: bytes | None = None, **headers: str) -> None:
        body = json.dumps(values).encode() if data is None else data
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def handle_any(self) -> None:
        body = self.body()
        path = unquote(self.path.partition("?")[0])
        said = f"{self.command} {path}"
        self.server.requests.append(said)
        if self.server.refuse and re.search(self.server.refuse[0], said):
            return self.answer(self.server.refuse[1], {"error": "not today"})
        if "/lfs/" not in path[:5] and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "who are you"})
        for pattern, route in ROUTES:
            if found := re.fullmatch(pattern, said):
                return route(self, body, **found.groupdict())
        return self.answer(404, {"error": f"no route {said}"})

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def repository(self, name: str) -> Repository | None:
        found = self.server.repositories.get(name)
        if found is None:
            self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return found


def create(self: Handler, body: bytes) -> None:
    asked = json.loads(body)
    name = f"{asked.get('organization') or 'me'}/{asked['name']}"
    url = {"url": f"{self.server.address}/{name}"}
    if name in self.server.repositories:
        return self.answer(409, url)
    self.server.repositories[name] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
    return self.answer(200, url)


def refs(self: Handler, body: bytes, name: str) -> None:
    if repository := self.repository(name):
        heads = [
            {"name": each, "ref": f"refs/heads/{each}", "targetCommit": log[-1][0]}
            for each, log in repository.branches.items()
        ]
        self.answer(200, {"branches": heads, "converts": [], "tags": []})


def preupload(self: Handler, body: bytes, name: str, branch: str) -> None:
    files = self.server.repositories[name].branches[branch][-1][1]
    rows = []
    for each in json.loads(body)["files"]:
        large = each["path"].endswith((".safetensors", ".gguf"))
        there = files.get(each["path"])
        oid = None if there is None else (hashlib.sha256(there).hexdigest() if large else git_oid(there))
        rows.append(
            {"path": each["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}
        )
    self.answer(200, {"files": rows})


def git_oid(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def batch(self: Handler, body: bytes, name: str) -> None:
    large = self.server.repositories[name].large
    rows = json.loads(body)["objects"]
    for each in rows:
        if each["oid"] not in large:
            each["actions"] = {"upload": {"href": f"{self.server.address}/lfs/{name}/{each['oid']}"}}
    self.answer(200, {"transfer": "basic", "objects": rows})


def put(self: Handler, body: bytes, name: str, oid: str) -> None:
    assert hashlib.sha256(body).hexdigest() == oid
    self.server.repositories[name].large[oid] = body
    self.answer(200, {})


def make_branch(self: Handler, body: bytes, name: str, branch: str) -> None:
    repository = self.server.repositories[name]
    start = json.loads(body).get("startingPoint") or repository.branches["main"][-1][0]
    repository.branches[branch] = [(start, repository.commit(start))]
    self.answer(200, {})


def commit(self: Handler, body: bytes, name: str, branch: str) -> None:
    repository = self.server.repositories[name]
    lines = [json.loads(line) for line in body.splitlines()]
    tip, files = repository.branches[branch][-1]
    if lines[0]["value"].get("parentCommit", tip) != tip:
        return self.answer(409, {"error": "somebody was faster"})
    files = dict(files)
    for value in (line["value"] | {"key": line["key"]} for line in lines[1:]):
        if value["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif value["key"] == "lfsFile":
            files[value["path"]] = repository.large[value["oid"]]
        else:
            del files[value["path"]]
    number = next(self.server.numbers)
    repository.branches[branch].append((number, files))
    return self.answer(200, {"commitUrl": f"{self.server.address}/{name}/commit/{number}", "commitOid": number})


def commits(self: Handler, body: bytes, name: str, branch: str) -> None:
    log = self.server.repositories[name].branches[branch]
    row = {"title": "", "message": "", "date": "2026-11-29T00:00:00.000Z", "authors": []}
    self.answer(200, [row | {"id": number} for number, _ in reversed(log)])


def tree(self: Handler, body: bytes, name: str, branch: str) -> None:
    files = self.server.tip(name, branch)[1]
    self.answer(200, [{"type": "file", "path": p, "size": len(b), "oid": git_oid(b)} for p, b in files.items()])


def revision(self: Handler, body: bytes, name: str, branch: str) -> None:
    self.answer(200, {"id": name, "sha": self.server.tip(name, branch)[0], "siblings": []})


def resolve(self: Handler, body: bytes, name: str, branch: str, path: str) -> None:
    number, files = self.server.tip(name, branch)
    if path not in files:
        return self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
    return self.answer(200, data=files[path], ETag=f'"{git_oid(files[path])}"', X_Repo_Commit=number)


def sound(self: Handler, body: bytes) -> None:
    self.answer(200, {"errors": [], "warnings": []})


NAME, AT = r"(?P<name>[^/]+/[^/]+)", r"(?P<branch>[^/]+)"
ROUTES = [
    (r"POST /api/repos/create", create),
    (r"POST /api/validate-yaml", sound),
    (rf"GET /api/models/{NAME}/refs", refs),
    (rf"POST /api/models/{NAME}/preupload/{AT}", preupload),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", batch),
    (rf"PUT /lfs/{NAME}/(?P<oid>\w+)", put),
    (rf"POST /api/models/{NAME}/branch/{AT}", make_branch),
    (rf"POST /api/models/{NAME}/commit/{AT}", commit),
    (rf"GET /api/models/{NAME}/commits/{AT}", commits),
    (rf"GET /api/models/{NAME}/tree/{AT}", tree),
    (rf"GET /api/models/{NAME}/revision/{AT}", revision),
    (rf"(HEAD|GET) /{NAME}/resolve/{AT}/(?P<path>.+)", resolve),
]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub = Server()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()


@pytest.fixture
def target(server) -> HuggingFace:
    return HuggingFace(endpoint=server.address, token=TOKEN)


def small_files(*names: str) -> list[OutgoingFile]:
    return [OutgoingFile.of(name, f"{name} of {names}".encode()) for name in names]


def published(made: list[str], target: HuggingFace, **more):
    planned = plan(PublishConfig(artefacts=made, to="hf", name="me/run", **more), target)
    return planned, publish(planned, target, QUIET)


def test_what_is_planned_is_what_the_hub_has_and_again_is_no_commit(artefacts, server, target, tmp_path):
    made = artefacts.family()
    planned, summary = published(made, target)
    for each in planned.branches:
        number, files = server.tip(each.repository, each.branch)
        assert summary["branches"][f"{each.repository}:{each.branch}"] == number
        own = {name: data for name, data in files.items() if name != ".gitattributes"}
        if each.repository != "me/run-GGUF":
            assert own == {file.name: file.content for file in each.files}
        place = tmp_path / "got" / each.repository / each.branch
        for name, data in own.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        verify_directory(place)
        assert f"{server.address}/me/run-GPTQ" in files["README.md"].decode()
    assert all(repository.private for repository in server.repositories.values())
    _, again = published(made, target)
    assert again["branches"] == summary["branches"]


def test_a_new_branch_never_shows_the_files_of_another(server, target):
    target.write("me/x", "main", small_files("config.json", "model.safetensors"), QUIET)
    server.refuse = (r"POST .*/commit/", 403)
    with pytest.raises(JobError):
        target.write("me/x", BRANCH, small_files("config.json"), QUIET)
    assert "model.safetensors" not in server.tip("me/x", BRANCH)[1]
    server.refuse = None
    target.write("me/x", BRANCH, small_files("config.json", "model.safetensors"), QUIET)
    assert set(server.tip("me/x", BRANCH)[1]) == {".gitattributes", "config.json", "model.safetensors"}
    target.write("me/x", BRANCH, small_files("config.json"), QUIET)
    assert set(server.tip("me/x", BRANCH)[1]) == {".gitattributes", "config.json"}
    target.write("me/x", BRANCH, small_files("README.md"), QUIET, keep_others=True)
    assert set(server.tip("me/x", BRANCH)[1]) == {".gitattributes", "config.json", "README.md"}


@pytest.mark.parametrize("status", [401, 402, 403, 409, 413])
@pytest.mark.parametrize("step", ["preupload/main", r"PUT /lfs", "commit/main"])
def test_a_hub_that_refuses_half_way_leaves_the_branch_and_a_retry_goes_on(artefacts, server, target, step, status):
    before = target.write("me/run", "main", small_files("config.json"), QUIET)
    made = [str(artefacts.adapter())]
    server.refuse = (step, status)
    with pytest.raises(JobError, match=rf"me/run:main was not published: .*answered {status}") as failed:
        published(made, target)
    assert "Traceback" not in str(failed.value)
    assert len(str(failed.value).splitlines()) == 1
    assert server.tip("me/run", "main")[0] == before
    server.refuse, uploaded = None, len(server.repositories["me/run"].large)
    server.requests.clear()
    published(made, target)
    assert "adapter_model.safetensors" in server.tip("me/run", "main")[1]
    assert sum(each.startswith("PUT") for each in server.requests) == 1 - uploaded


def test_a_hub_that_is_not_there_or_knows_nobody_says_so_before_anything(artefacts, server):
    made = [str(artefacts.adapter())]
    with pytest.raises(JobError, match="does not know who you are: type `hf auth login`"):
        published(made, HuggingFace(endpoint=server.address, token="hf_" + "x" * 30))
    with pytest.raises(JobError, match="cannot be reached from here"):
        published(made, HuggingFace(endpoint="http://127.0.0.1:9", token=TOKEN))
    assert server.repositories == {}


def test_public_is_asked_for_and_somebody_elses_repository_is_kept(artefacts, server):
    target = HuggingFace(public=True, endpoint=server.address, token=TOKEN)
    server.repositories["me/run"] = Repository(private=True)
    server.repositories["me/run"].branches["main"].append(("b" * 40, {"README.md": b"# Mine\n", "other.bin": b"x"}))
    planned, _ = published([str(artefacts.gptq(4, 32, True, "a"))], target)
    assert [each.branch for each in planned.branches] == [BRANCH, "main"]
    assert server.repositories["me/run"].private
    assert server.tip("me/run", "main")[1]["other.bin"] == b"x"
    assert server.tip("me/run", "main")[1]["README.md"].endswith(b"# Mine\n")
    target.write("me/new", "main", small_files("config.json"), QUIET)
    assert not server.repositories["me/new"].private
