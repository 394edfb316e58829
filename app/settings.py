"""What a server is started with, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from earthgen.errors import ArgumentError
from earthgen.weights import BUNDLED

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one server. Limits are generous for a person and tight for a script."""

    folder: Path = Path("out/app")
    """All that the server writes but for tiles, which lie in the cache."""
    host: str = "127.0.0.1"
    port: int = 7860
    user: str | None = None
    """With `password`, what every request must show (HTTP Basic)."""
    password: str | None = field(default=None, repr=False)
    model: str = BUNDLED
    device: str = "auto"
    backend: str = "torch"
    """What computes on a CPU: see `earthgen.models.backends`."""
    cache: Path | None = None
    """Where tiles are kept; None for the user's own cache."""

    waiting: int = 64
    """Tiles and other short works that wait for the model; beyond them the answer is 503."""
    jobs_waiting: int = 16
    idle_s: float = 10.0
    """When the model is loaded if nobody has needed it before."""
    wait_s: float = 60.0
    """How long a request waits for the model before it is told to come again."""
    rate: float = 50.0
    """Requests a second that an address may keep up."""
    burst: int = 500
    """Requests that it may make at once. A page is about a hundred."""
    upload_bytes: int = 32 << 20
    upload_pixels: int = 1 << 24
    labels_bytes: int = 8 << 20
    """Of labels to lay objects out by."""
    image_side: int = 1024
    """Pixels of generated images."""
    output_pixels: int = 1 << 24
    """Of exports and refined images."""
    answer_pixels: int = 1 << 20
    """Of images that are answered at once and are no job."""
    dataset_images: int = 200
    """Of one data set."""
    dataset_pixels: int = 1 << 25
    """Of all images of one data set together."""
    kept_datasets: int = 8
    """That were cancelled or failed, to go on with; the oldest go first."""
    judge: Path | None = None
    """Folder of an evaluator that judges the images of data sets for whom asks; None has none."""
    kept_jobs: int = 200
    kept_bytes: int = 2 << 30
    """Of jobs' results and uploads; the oldest go first."""
    worlds: int = 3
    """That are open at once, each with up to half a GiB of memory."""

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            missing = "password" if self.password is None else "user"
            raise ArgumentError(missing, "must be given with its pair (`user`, `password`)", None)
        if self.user is not None and (not self.user or ":" in self.user or not self.password):
            raise ArgumentError("user", "must be a name without a colon, and the password not empty", self.user)
        if not 0 <= self.port <= 65535:
            raise ArgumentError("port", "must be from 0 to 65535", self.port)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK
