"""The Dask cluster of a job: started here, on this machine or by Slurm, or joined."""

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
from .worker import TASKS_PER_WORKER

DASK_CONFIG: dict[str, Any] = {
    # A daemonic process may not start children, and every worker starts decoding processes.
    "distributed.worker.daemon": False,
    # A shard that loses its third worker is set aside, and tried alone at the end of the job.
    "distributed.scheduler.allowed-failures": 2,
    # Native code that holds the GIL keeps a worker from reporting; that does not make it lost.
    "distributed.scheduler.worker-ttl": "30 minutes",
    # Dask samples the stacks of each process 100 times a second, and checks 50 times a second
    # whether its event loop is stuck: together 3 % of two busy cores (docs/log.md).
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    # Dask's own value also has MALLOC_TRIM_THRESHOLD_, with which the memory of every large array
    # is mapped anew: decoding and the forward pass on a CPU took a third longer (docs/log.md).
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
    ),
}

# Dask's HTTP server cannot be left out; on a fixed port two jobs on one machine would collide.
NO_DASHBOARD: dict[str, Any] = {
    "dashboard_address": "127.0.0.1:0",
    "scheduler_kwargs": {"dashboard": False},
}

# No memory limit: what a worker holds is bounded already, and a wrong limit would kill it.
WORKER_OPTIONS: dict[str, Any] = {"threads_per_worker": TASKS_PER_WORKER, "memory_limit": 0}


@contextmanager
def connect(settings: ExtractSettings) -> Iterator[Client]:
    """Connect to the cluster that the settings name; one that is started here ends with the client.

    Raises:
        ConfigError: no scheduler answers, a package is not installed, or Slurm is not here.
    """
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(DASK_CONFIG))
        if is_joined(settings):
            client = stack.enter_context(_join(settings))
        else:
            cluster = stack.enter_context(start_cluster(settings))
            if settings.cluster.adaptive:
                cluster.adapt(minimum=1, maximum=settings.cluster.workers)
            client = stack.enter_context(Client(cluster))
        try:
            yield client
        except BaseException:
            # Dask would report every task that is cut off.
            for logger in ("asyncio", "distributed", "tornado"):
                logging.getLogger(logger).setLevel(logging.CRITICAL)
            raise


def is_joined(settings: ExtractSettings) -> bool:
    """Whether the job joins a cluster that runs already, and may have other users."""
    return "://" in settings.cluster.scheduler


def _join(settings: ExtractSettings) -> Client:
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
    """Start the cluster that `scheduler` names: "local", "cuda" or "slurm"."""
    workers = 1 if settings.cluster.adaptive else settings.cluster.workers
    if settings.cluster.scheduler == "slurm":
        return _start_slurm(settings, workers)
    if settings.cluster.scheduler == "cuda":
        return _start_cuda(workers)
    with _without_interrupts():
        # Without silence_logs, workers would warn of every task they had when the job is stopped.
        return LocalCluster(
            n_workers=workers, silence_logs=logging.ERROR, **WORKER_OPTIONS, **NO_DASHBOARD
        )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from the threads and processes that are started in the block.

    The job alone handles Ctrl-C, and ends its workers.
    """
    _start_resource_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_resource_tracker() -> None:
    """Start Python's resource tracker, which removes what killed processes leave behind, silently.

    It takes its filters of warnings from the interpreter's options. It is started before Ctrl-C is
    blocked, because starting it unblocks Ctrl-C.
    """
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()


def _start_cuda(workers: int) -> Any:
    package = _import_package("cuda", "dask_cuda")
    with _without_interrupts():
        return package.LocalCUDACluster(
            n_workers=workers, silence_logs=logging.ERROR, **WORKER_OPTIONS, **NO_DASHBOARD
        )


def _start_slurm(settings: ExtractSettings, workers: int) -> Any:
    package, slurm = _import_package("slurm", "dask_jobqueue"), settings.cluster.slurm
    if shutil.which("sbatch") is None:
        raise ConfigError(
            'extract.cluster.scheduler = "slurm": there is no sbatch on this machine; start the '
            "job where Slurm's commands are"
        )
    return package.SLURMCluster(
        n_workers=workers,
        cores=TASKS_PER_WORKER,  # dask-jobqueue calls the threads of a worker cores
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


def _import_package(scheduler: str, module: str) -> Any:
    """Import a package that only this kind of cluster needs."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f'extract.cluster.scheduler = "{scheduler}": needs a package: '
            f"pip install {module.replace('_', '-')}"
        ) from error
