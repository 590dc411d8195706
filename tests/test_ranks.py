"""Several processes under torchrun learn what one learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import D, differences, relative

from metaad_tutorial import MAML, Fleet
from metaad_tutorial.tree import flat

SCRIPT = """
import json, sys
import torch
from metaad_tutorial import MAML, Fleet, ranks

where = sys.argv[1]
train, valid, _ = Fleet(3, 1, 4, 4, n_machines=40, n_features=20).split(random_state=0)


def run(steps, checkpoint=None, **parameters):
    detector = MAML(meta_steps=steps, meta_batch=5, inner_steps=2, **parameters)
    detector.every = 2
    return detector.meta_fit(train, valid, checkpoint)


path = f"{where}/checkpoint.npz"
run(4, path, random_state=0)
torch.distributed.barrier()
detector = run(6, path, random_state=0)
detector.save(f"{where}/rank{ranks.rank()}.npz")
run(2).save(f"{where}/unseeded{ranks.rank()}.npz")
try:
    MAML(meta_steps=1, meta_batch=1, random_state=0).meta_fit(train)
    message = ""
except ValueError as error:
    message = str(error)
json.dump([message, torch.distributed.get_world_size()], open(f"{where}/message{ranks.rank()}.json", "w"))
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What two processes under torchrun leave behind."""
    where = tmp_path_factory.mktemp("ranks")
    (where / "script.py").write_text(SCRIPT)
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, "script.py", str(where)], cwd=where, env=env, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return where


def test_two_processes_learn_what_one_learns(two_ranks):
    whole = MAML(meta_steps=6, meta_batch=5, inner_steps=2, random_state=0)  # 5 tasks: shares of 3 and 2
    whole.every = 2
    whole.meta_fit(*Fleet(3, 1, 4, 4, n_machines=40, n_features=D).split(random_state=0)[:2])
    first, second = (MAML.load(two_ranks / f"rank{i}.npz") for i in (0, 1))
    learnt = flat(first.meta_)
    for name, value in flat(whole.meta_).items():
        assert relative(learnt[name], value) < 1e-12
    assert not differences(first.meta_, second.meta_)
    assert first.history_ == second.history_
    for name, values in whole.history_.items():
        assert len(values) == {"loss": 6, "valid_loss": 3}[name]
        assert np.allclose(first.history_[name], values, rtol=1e-12, atol=0)


def test_processes_without_a_seed_agree(two_ranks):
    one, two = (MAML.load(two_ranks / f"unseeded{i}.npz") for i in (0, 1))
    assert len(flat(one.meta_)) == 4 and not differences(one.meta_, two.meta_)


def test_too_few_tasks_for_the_processes(two_ranks):
    for i in (0, 1):
        message, ranks = json.loads((two_ranks / f"message{i}.json").read_text())
        assert ranks == 2 and "1 tasks cannot be shared by 2 processes: raise meta_batch" in message
