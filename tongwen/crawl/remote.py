"""Sources in the net: what their lists name, brought to the cache by a few connections."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tongwen.crawl.common_crawl import file_url, read_list, record_groups
from tongwen.crawl.download import Download, cache_path, download, failure
from tongwen.crawl.http import HttpClient, RefusedError
from tongwen.crawl.ranges import download_records
from tongwen.crawl.secrets import Secrets, public_url
from tongwen.crawl.settings import DownloadSettings, SourceSettings
from tongwen.errors import InputError
from tongwen.progress import Progress

IsWanted = Callable[[str], bool]


@dataclass(frozen=True)
class Job:
    """One file to bring.

    Attributes:
        source: whose file it is.
        url: for messages.
        get: brings it.
    """

    source: SourceSettings
    url: str
    get: Callable[[], Download]


class Remote:
    """The remote side of one stage run."""

    def __init__(self, settings: DownloadSettings, cache: Path, progress: Progress) -> None:
        self._settings = settings
        self._cache = cache
        self._progress = progress
        self._client = HttpClient(settings)
        self._secrets = Secrets()

    def jobs(self, source: SourceSettings, is_wanted: IsWanted) -> list[Job]:
        """The files of a source, in order. A Common Crawl list is itself downloaded for that.

        Raises:
            InputError: nothing is there.
        """
        if source.format == "common-crawl":
            return self._common_crawl_jobs(source)
        if source.url.startswith(("http://", "https://")):
            return [self._http_job(source, self._secrets.fill(source.url))]
        # Imported here: who reads from web servers only needs no fsspec.
        from tongwen.crawl.storage import copy_stored, stored_cache_path, stored_files

        files = stored_files(source.url, dict(source.storage), self._secrets, is_wanted)
        if not files:
            raise InputError(
                f"no {source.format} files in {public_url(source.url)}",
                hint="is the address right, and is `format`?",
            )

        def job(index: int) -> Job:
            stored = files[index]
            path = stored_cache_path(self._cache, stored)
            attempts = self._settings.attempts
            return Job(
                source, stored.url,
                lambda: copy_stored(self._client, stored, path, attempts, self._secrets),
            )  # fmt: skip

        return [job(index) for index in range(len(files))]

    def _http_job(self, source: SourceSettings, url: str) -> Job:
        path = cache_path(self._cache, url)
        attempts = self._settings.attempts
        return Job(source, public_url(url), lambda: download(self._client, url, path, attempts))

    def _common_crawl_jobs(self, source: SourceSettings) -> list[Job]:
        if source.path is not None:
            listed, shown = Path(source.path).expanduser(), source.path
            if not listed.is_file():
                raise InputError(
                    f"there is no {listed}", hint="name a paths file, or give its `url`"
                )
        else:
            job = self._http_job(source, self._secrets.fill(source.url))
            (found,) = self.run([job])
            assert found is not None
            listed, shown = found.path, job.url
        wanted = read_list(listed, source.select, shown)
        base = self._secrets.fill(source.base_url)
        if wanted.files:
            return [self._http_job(source, file_url(base, path)) for path in wanted.files]
        folder = cache_path(self._cache, file_url(base, "records/x")).parent

        def records_job(name: str, start: int) -> Job:
            group = groups[start][1]
            return Job(
                source, f"{public_url(base)} {name}",
                lambda: download_records(
                    self._client, base, group, folder / name, self._settings.attempts
                ),
            )  # fmt: skip

        groups = list(record_groups(wanted.records))
        return [records_job(name, number) for number, (name, _) in enumerate(groups)]

    def run(self, jobs: Sequence[Job]) -> list[Download | None]:
        """Bring all files, `connections` at a time; None for one that is missing on its server.

        Raises:
            InputError, DiskFullError: one cannot be downloaded. The others stop where they are and
                resume in the next run.
        """
        results: list[Download | None] = [None] * len(jobs)
        missing = 0
        self._progress.start()
        numbers = iter(range(len(jobs)))
        finished = 0
        waiting: dict[Future[Download], int] = {}
        with ThreadPoolExecutor(self._settings.connections, "download") as pool:
            try:
                while True:
                    # A list can have 100,000 files: only the next few are queued.
                    for number in islice(numbers, 2 * self._settings.connections - len(waiting)):
                        waiting[pool.submit(jobs[number].get)] = number
                    if not waiting:
                        break
                    done, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in done:
                        number = waiting.pop(future)
                        finished += 1
                        try:
                            results[number] = future.result()
                        except RefusedError as error:
                            missing += 1
                            if missing > self._settings.allowed_missing:
                                raise failure(jobs[number].url, str(error), error.status) from error
                            self._progress.say(f"  missing: {jobs[number].url}")
                    received = f"{self._client.received_bytes / 1e6:,.0f} MB received"
                    self._progress.update("download", finished, len(jobs), received)
            except BaseException:
                self._client.stop()
                for future in waiting:
                    future.cancel()
                raise
        return results
