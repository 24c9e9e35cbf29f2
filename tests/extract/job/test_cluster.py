"""The clusters that a job can ask for, and what is said of those that are not there."""

import logging
import shutil
import signal
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from finevq.config import load_config
from finevq.errors import ConfigError
from finevq.extract.job import cluster
from finevq.extract.job.cluster import connect, start_cluster
from finevq.extract.job.worker import TASKS_PER_WORKER
from finevq.extract.settings import ExtractSettings


def settings(*changes: str) -> ExtractSettings:
    return load_config(None, [f"extract.cluster.{change}" for change in changes])[0].extract


@pytest.mark.parametrize(
    ("scheduler", "module", "package"),
    [("cuda", "dask_cuda", "dask-cuda"), ("slurm", "dask_jobqueue", "dask-jobqueue")],
)
def test_missing_package_is_named(
    scheduler: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    expected = f'scheduler = "{scheduler}": needs a package: pip install {package}$'
    with pytest.raises(ConfigError, match=expected):
        start_cluster(settings(f"scheduler={scheduler}"))


def test_workers_that_are_not_started_here_cannot_be_scaled() -> None:
    with (
        pytest.raises(ConfigError, match=r"extract\.cluster\.adaptive: .* set it to false"),
        connect(settings("scheduler=tcp://127.0.0.1:9", "adaptive=true")),
    ):
        pass


def test_address_that_is_none_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match=r"'tcp://foo:bar': not an address .* tcp://HOST:PORT"),
        connect(settings("scheduler=tcp://foo:bar")),
    ):
        pass


def test_unknown_scheduler_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"extract\.cluster\.scheduler = \"lokal\""):
        settings("scheduler=lokal")


@pytest.mark.parametrize("adaptive", [False, True])
def test_adaptive_cluster_starts_with_one_worker_and_may_grow(
    adaptive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    class Cluster:
        def __init__(self, n_workers: int, **kwargs: Any) -> None:
            calls.append(n_workers)

        def __enter__(self) -> "Cluster":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def adapt(self, minimum: int, maximum: int) -> None:
            calls.append((minimum, maximum))

    class Client(Cluster):
        def __init__(self, cluster: Cluster) -> None:
            pass

    monkeypatch.setattr(cluster, "LocalCluster", Cluster)
    monkeypatch.setattr(cluster, "Client", Client)
    with connect(settings("workers=5", f"adaptive={str(adaptive).lower()}")):
        pass
    assert calls == ([1, (1, 5)] if adaptive else [5])


def test_machine_without_slurm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="there is no sbatch on this machine"):
        start_cluster(settings("scheduler=slurm"))


def test_slurm_job_has_what_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    scripts: list[str] = []

    class Slurm(jobqueue.SLURMCluster):  # type: ignore[misc]
        """Writes its job script instead of submitting it."""

        def __init__(self, n_workers: int, **kwargs: Any) -> None:
            super().__init__(n_workers=0, **kwargs)
            scripts.append(self.job_script())

    monkeypatch.setattr(jobqueue, "SLURMCluster", Slurm)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    made = start_cluster(
        settings(
            "scheduler=slurm",
            "threads=3",
            "slurm.queue=gpu",
            "slurm.walltime=02:30:00",
            "slurm.memory=48GB",
            'slurm.directives=["--gres=gpu:1"]',
            'slurm.prologue=["module load cuda"]',
        )
    )
    made.close()
    (script,) = scripts
    lines = script.splitlines()
    assert "#SBATCH -p gpu" in lines
    assert not any(line.startswith("#SBATCH -A") for line in lines)  # the site's default account
    assert "#SBATCH -t 02:30:00" in lines
    assert "#SBATCH --cpus-per-task=4" in lines  # three threads and a decoding process
    assert "#SBATCH --mem=45G" in lines  # in GiB
    assert "#SBATCH --gres=gpu:1" in lines
    assert lines.index("module load cuda") > lines.index(
        "export DASK_DISTRIBUTED__WORKER__DAEMON=False"
    )
    assert f"--nthreads {TASKS_PER_WORKER}" in script
    assert script.rstrip().endswith("--memory-limit 0")


def test_cuda_cluster_gets_a_worker_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    package = SimpleNamespace(LocalCUDACluster=lambda **given: made.append(given))
    monkeypatch.setitem(sys.modules, "dask_cuda", package)
    start_cluster(settings("scheduler=cuda", "workers=8"))
    (given,) = made
    assert given == {
        "n_workers": 8,
        "threads_per_worker": TASKS_PER_WORKER,
        "memory_limit": 0,
        "silence_logs": logging.ERROR,
        "dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False},
    }


def test_processes_that_start_with_the_cluster_do_not_hear_ctrl_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocked: list[bool] = []

    def start(**given: Any) -> None:
        def look() -> None:  # as the thread does that starts the workers
            blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    monkeypatch.setattr(cluster, "LocalCluster", start)
    start_cluster(settings("workers=1"))
    assert blocked == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
