"""The Hugging Face Hub as a target, through huggingface_hub.

Weights are uploaded first, which no reader sees; then one commit lets the branch hold exactly the planned files. So a
hub that refuses half-way leaves the branch as it was, and a retry uploads only what is not there. The token is that of
`hf auth login` or of huggingface_hub's own variables. Knows huggingface_hub. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core import staging
from camelid_core.artefacts import MANIFEST, Manifest
from camelid_core.errors import CamelidError, JobError
from camelid_core.models.hub_names import MAIN, valid_branch, valid_repository
from pydantic import ValidationError

from .hub_target import MAX_TEXT_BYTES, HubTarget, PublishedBranch, Report
from .outgoing_file import README, OutgoingFile
from .publish_config import THE_HUB

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_HUBS_OWN = ".gitattributes"
_LOGIN = "type `hf auth login` with a token that may write"
_STATUS = {
    401: f"it does not know who you are: {_LOGIN}.",
    402: "your account there must pay for more space; or publish to a local hub with --to DIR.",
    403: f"you may not write there: check ORG in --name, and {_LOGIN}.",
    404: f"it shows no such repository: check ORG in --name, and {_LOGIN}.",
    409: "somebody else wrote there at the same time; publish again.",
    413: "a file is larger than it takes; export in smaller shards.",
    429: "it asks to wait; publish again in some minutes.",
}


class HuggingFace(HubTarget):
    """The Hub that HF_ENDPOINT names, else huggingface.co. `public` holds for repositories that are new."""

    name = THE_HUB

    def __init__(self, public: bool = False, endpoint: str | None = None, token: str | None = None) -> None:
        self._public, self._endpoint, self._token = public, endpoint, token

    def branches(self, repository: str) -> dict[str, PublishedBranch]:
        from huggingface_hub.errors import RepositoryNotFoundError

        valid_repository(repository)
        with _in_sentences("asking the Hub for what it has"):
            try:
                refs = self._api.list_repo_refs(repository)
            except RepositoryNotFoundError:
                return {}
            return {ref.name: self._branch(repository, ref.name) for ref in refs.branches}

    def write(
        self, repository: str, branch: str, files: Sequence[OutgoingFile], report: Report, keep_others: bool = False
    ) -> str:
        from huggingface_hub import CommitOperationDelete

        valid_branch(branch)
        with _in_sentences(f"publishing {repository}:{branch}"):
            self._api.create_repo(repository, private=not self._public, exist_ok=True)
            head = {ref.name: ref.target_commit for ref in self._api.list_repo_refs(repository).branches}
            additions = [_addition(each) for each in files]
            for each, addition in zip(files, additions, strict=True):
                where = branch if branch in head else MAIN
                self._api.preupload_lfs_files(repository, [addition], revision=where, free_memory=False)
                _check_unchanged(each, addition)
                report(each.size, each.name)
            if branch not in head:
                additions = [_addition(each) for each in files]  # the first were compared with what main has
                first = self._api.list_repo_commits(repository)[-1].commit_id  # not main's files under another name
                self._api.create_branch(repository, branch=branch, revision=first, exist_ok=True)
            wanted = {_HUBS_OWN, *(each.name for each in files)}
            there = [] if keep_others else self._api.list_repo_files(repository, revision=branch)
            gone = [CommitOperationDelete(name, is_folder=False) for name in there if name not in wanted]
            done = self._api.create_commit(
                repository,
                [*additions, *gone],
                commit_message=f"Publish {branch} by Camelid",
                revision=branch,
                parent_commit=head.get(branch),
            )
            return str(done.oid)

    def web(self, repository: str, branch: str = "") -> str:
        return f"{self._api.endpoint}/{repository}" + (f"/tree/{branch}" if branch else "")

    def clone_url(self, repository: str) -> str:
        return f"{self._api.endpoint}/{repository}"

    def load_lines(self, repository: str, branch: str, files: Sequence[str] = ()) -> list[str]:
        return [
            *(f"hf download {repository} {file} --revision {branch} --local-dir ." for file in files),
            f"camelid models pull {repository}:{branch}",
            f"git clone --single-branch --branch {branch} {self.clone_url(repository)}",
            f"# from_pretrained({repository!r}, revision={branch!r})",
        ]

    @property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.utils import disable_progress_bars

        if constants.HF_HUB_DISABLE_PROGRESS_BARS is not False:  # a person wants to see them, beside ours
            disable_progress_bars()
        return HfApi(endpoint=self._endpoint, token=self._token)

    def _branch(self, repository: str, branch: str) -> PublishedBranch:
        text = self._text(repository, branch, MANIFEST)
        try:
            manifest = Manifest.model_validate_json(text) if text else None
        except ValidationError:
            manifest = None  # somebody else's, or of a newer Camelid
        return PublishedBranch(manifest, self._text(repository, branch, README).decode(errors="replace"))

    def _text(self, repository: str, branch: str, name: str) -> bytes:
        """A small file; empty where there is none."""
        from huggingface_hub.errors import EntryNotFoundError

        with staging.scratch("camelid-hub") as scratch:
            try:
                path = self._api.hf_hub_download(repository, name, revision=branch, local_dir=scratch)
            except EntryNotFoundError:
                return b""
            with Path(path).open("rb") as file:
                return file.read(MAX_TEXT_BYTES)


def _addition(file: OutgoingFile) -> Any:
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(file.name, file.source if isinstance(file.source, bytes) else str(file.source))


def _check_unchanged(planned: OutgoingFile, addition: Any) -> None:
    info = addition.upload_info
    if info.size != planned.size or (info.is_hashed and info.sha256.hex() != planned.sha256):
        raise JobError(f"{planned.name!r} changed while it was published; nothing was. Publish it again.")


@contextmanager
def _in_sentences(what: str) -> Iterator[None]:
    """Errors of the Hub and of the network as sentences, and what to do then."""
    try:
        yield
    except CamelidError:
        raise
    except Exception as error:  # huggingface_hub, its uploader and two network libraries have their own
        raise JobError(f"{what} failed: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        error = cause
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            said = str(getattr(cause, "server_message", "") or "").strip().rstrip(".")
            advice = _STATUS.get(status, "publish again later." if status >= 500 else "that is all it says.")
            return f"the Hub answered {status}{f' ({said})' if said else ''}; {advice}"
        if isinstance(cause, ConnectionError | TimeoutError) or type(cause).__name__ in _UNREACHABLE:
            return "the Hub cannot be reached from here; publish again with a network, or to a local hub with --to DIR."
        cause = cause.__cause__ or cause.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_UNREACHABLE = (
    "ConnectError", "ConnectTimeout", "ReadTimeout", "WriteTimeout", "ReadError", "WriteError", "RemoteProtocolError",
    "OfflineModeIsEnabled",
)  # fmt: skip
"""Names of the network library's errors, which are no ConnectionError."""
