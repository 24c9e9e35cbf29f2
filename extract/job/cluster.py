"""The Dask cluster that a job runs on: started here, on GPUs, by Slurm, or joined."""

import logging
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from multiprocessing import resource_tracker
from typing import Any

import dask
from distributed import Client, LocalCluster

from ...errors import ConfigError
from ..settings import ExtractSettings
from .worker import TASKS

DASK: dict[str, Any] = {
    # A daemonic process may not have children, and every worker has decoding processes.
    "distributed.worker.daemon": False,
    # A dying worker counts against every shard that it had, and preempted workers die often.
    "distributed.scheduler.allowed-failures": 50,
    # Native code that holds the GIL keeps a worker from being heard of; it is not lost by that.
    "distributed.scheduler.worker-ttl": "30 minutes",
    # Dask samples each process's stacks a hundred times a second, and looks fifty times whether its
    # loop is stuck: 3 % of two busy cores (docs/log.md).
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    # Without Dask's MALLOC_TRIM_THRESHOLD_, under which every large array is mapped and paged in
    # anew: decoding and the forward pass on a CPU took a third longer (docs/log.md).
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
    ),
}

# Its HTTP server cannot be left out; on a fixed port two jobs would get in each other's way.
QUIET: dict[str, Any] = {
    "dashboard_address": "127.0.0.1:0",
    "scheduler_kwargs": {"dashboard": False},
}

# Features and frames are bounded; killing at a guess would lose work.
WORKER: dict[str, Any] = {"threads_per_worker": TASKS, "memory_limit": 0}


@contextmanager
def connect(settings: ExtractSettings) -> Iterator[Client]:
    """A client of the cluster that the settings name; one that is started here ends with it.

    Raises:
        ConfigError: No scheduler answers, a package is not installed, or Slurm is not here.
    """
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(DASK))
        if joined(settings):
            client = stack.enter_context(_client_of(settings))
        else:
            cluster = stack.enter_context(start_cluster(settings))
            if settings.cluster.adaptive:
                cluster.adapt(minimum=1, maximum=settings.cluster.workers)
            client = stack.enter_context(Client(cluster))
        try:
            yield client
        except BaseException:
            # What is under way is cut off, and Dask would tell of each piece.
            for logger in ("asyncio", "distributed", "tornado"):
                logging.getLogger(logger).setLevel(logging.CRITICAL)
            raise


def joined(settings: ExtractSettings) -> bool:
    """Whether the cluster runs already, and may have other users."""
    return "://" in settings.cluster.scheduler


def _client_of(settings: ExtractSettings) -> Client:
    address = settings.cluster.scheduler
    if settings.cluster.adaptive:
        raise ConfigError(
            f"extract.cluster.adaptive: the workers of {address} are not started here; set it to "
            "false"
        )
    try:
        return Client(address, timeout="30s")
    except ValueError as error:
        raise ConfigError(
            f"extract.cluster.scheduler = {address!r}: not an address ({error}): write it as "
            "tcp://HOST:PORT"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"extract.cluster.scheduler = {address!r}: no scheduler answers there; start it, or "
            'set "local"'
        ) from error


def start_cluster(settings: ExtractSettings) -> Any:
    """A new cluster as `scheduler` says: "local", "cuda" or "slurm"."""
    workers = 1 if settings.cluster.adaptive else settings.cluster.workers
    if settings.cluster.scheduler == "slurm":
        return _slurm(settings, workers)
    if settings.cluster.scheduler == "cuda":
        return _cuda(workers)
    with _no_interrupt():
        # Workers warn of every task that they had when the job is stopped.
        return LocalCluster(n_workers=workers, silence_logs=logging.ERROR, **WORKER, **QUIET)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C from the threads started here, and from their processes.

    Ending workers is left to the job, which hears of it afterwards.
    """
    _start_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """Start the process that removes what killed ones leave behind, and does not speak of it.

    It takes the filters of warnings from the interpreter's options. Here, as it lets Ctrl-C in
    again where it is started.
    """
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()


def _cuda(workers: int) -> Any:
    package = _package("cuda", "dask_cuda")
    with _no_interrupt():
        return package.LocalCUDACluster(
            n_workers=workers, silence_logs=logging.ERROR, **WORKER, **QUIET
        )


def _slurm(settings: ExtractSettings, workers: int) -> Any:
    package, slurm = _package("slurm", "dask_jobqueue"), settings.cluster.slurm
    if shutil.which("sbatch") is None:
        raise ConfigError(
            'extract.cluster.scheduler = "slurm": there is no sbatch on this machine; start the '
            "job where Slurm's commands are"
        )
    return package.SLURMCluster(
        n_workers=workers,
        cores=TASKS,  # Dask's word for the tasks of a worker
        processes=1,
        job_cpu=settings.cluster.threads + settings.decode.processes,
        memory=slurm.memory,
        worker_extra_args=["--memory-limit", "0"],
        queue=slurm.queue or None,
        account=slurm.account or None,
        walltime=slurm.walltime,
        job_extra_directives=slurm.directives,
        job_script_prologue=["export DASK_DISTRIBUTED__WORKER__DAEMON=False", *slurm.prologue],
        scheduler_options={"dashboard": False, "dashboard_address": ":0"},
    )


def _package(scheduler: str, module: str) -> Any:
    """A package that only this kind of cluster needs."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f'extract.cluster.scheduler = "{scheduler}": needs a package: '
            f"pip install {module.replace('_', '-')}"
        ) from error
