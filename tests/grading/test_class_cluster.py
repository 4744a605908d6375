"""The same class on a dask.distributed cluster of two worker processes: the same marks; a killed worker, no loss."""

import os
import time

import pytest
from test_class import course, scores, task, undisturbed  # noqa: F401

from vos_teach.errors import VosError
from vos_teach.grading import classroom, pool

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as made:
        yield made


@pytest.mark.slow
def test_two_workers_give_the_same_marks(course, undisturbed, cluster, tmp_path):  # noqa: F811
    done = classroom.grade(task(course, tmp_path, scheduler=cluster.scheduler_address), lambda _: None)
    assert scores(tmp_path) == scores(undisturbed[1]) and done.kept == 0
    again = classroom.grade(task(course, tmp_path, scheduler=cluster.scheduler_address), lambda _: None)
    assert again.kept == len(done.pairs)


@pytest.mark.slow
def test_a_worker_killed_meanwhile_costs_nothing(course, undisturbed, cluster, tmp_path):  # noqa: F811
    psutil = pytest.importorskip("psutil")
    killed = []

    class Bar:
        """Kills a worker when the first result is there."""

        def __init__(self, **_):
            pass

        def update(self):
            if not killed:
                with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
                    killed.extend(client.run(os.getpid).values())
                psutil.Process(killed[0]).kill()

        def set_postfix_str(self, _):
            pass

        def close(self):
            pass

    classroom.grade(task(course, tmp_path, scheduler=cluster.scheduler_address), lambda _: None, Bar)
    assert killed and scores(tmp_path) == scores(undisturbed[1])


@pytest.mark.slow  # dask tries for half a minute
def test_no_scheduler_is_one_sentence():
    start = time.monotonic()
    with pytest.raises(VosError, match=r"no dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        list(pool.cluster([{}], "tcp://127.0.0.1:9"))
    assert time.monotonic() - start < 60
    with pytest.raises(VosError, match="no dask scheduler answers at 'nonsense://x'"):
        list(pool.cluster([{}], "nonsense://x"))
