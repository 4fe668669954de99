"""What the failure of a remote means to the user, whatever library raised it."""

from collections.abc import Callable, Iterator

_LIBRARIES = ("botocore", "aiobotocore", "s3fs", "aiohttp", "fsspec", "dvc_objects", "dvc_s3", "urllib3", "azure", "gcsfs", "adlfs")
_TRANSFERS = ("UploadError", "DownloadError", "FileTransferError")
_REFUSED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "InvalidToken", "Forbidden", "403", "401")
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError")
_SILENT = (
    "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "ConnectionRefusedError", "ClientConnectorError",
    "ServerDisconnectedError", "ConnectTimeout",
)  # fmt: skip
_NO_BUCKET = ("NoSuchBucket", "The specified bucket does not exist")
_GIVE = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `dvc remote modify --local NAME access_key_id …`"


def explain(error: BaseException) -> str | None:
    """One sentence that ends with the fix; None where ``error`` is not the remote's."""
    chain = list(_chain(error))
    if not any(_is_of_remote(one) for one in chain):
        return None
    said = f"{type(error).__name__}: {error}"
    what, fix = next(((what, fix) for is_meant, what, fix in _MEANINGS if any(map(is_meant, chain))), ("cannot be used", _CHECK))
    return f"DVC's remote {what} ({said}): {fix}, then run again."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, each once."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _is_of_remote(error: BaseException) -> bool:
    kind = type(error)
    return isinstance(error, OSError) or kind.__name__ in _TRANSFERS or kind.__module__.split(".")[0] in _LIBRARIES


def _is_missing_library(error: BaseException) -> bool:
    return type(error).__name__ == "RemoteMissingDepsError"


def _is_missing_bucket(error: BaseException) -> bool:
    return any(sign in f"{_code(error)} {error}" for sign in _NO_BUCKET)


def _is_without_credentials(error: BaseException) -> bool:
    return type(error).__name__ in _NO_CREDENTIALS


def _is_silence(error: BaseException) -> bool:
    return type(error).__name__ in _SILENT


def _is_refusal(error: BaseException) -> bool:
    # A PermissionError of this machine's own files has a name; one of a server has none.
    return _code(error) in _REFUSED or (isinstance(error, PermissionError) and error.filename is None)


def _code(error: BaseException) -> str:
    """The code of a server's answer, as botocore keeps it."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


_CHECK = "check its address, rights and free space (`dvc remote list`)"
_MEANINGS: tuple[tuple[Callable[[BaseException], bool], str, str], ...] = (
    (_is_missing_library, "needs a library that is not installed", "install it, for S3 with `pip install 'genmill[s3]'`"),
    (_is_missing_bucket, "names a bucket that is not there", "make the bucket, or mend the address (`dvc remote list`)"),
    (_is_without_credentials, "needs credentials and there are none", _GIVE),
    (_is_refusal, "refuses these credentials", f"{_GIVE}, with rights to read and write there"),
    (_is_silence, "does not answer", "start it, or mend its address (`dvc remote list`, `endpointurl`)"),
)
"""Which failure it is, what it means, and what to do; the first that fits."""
