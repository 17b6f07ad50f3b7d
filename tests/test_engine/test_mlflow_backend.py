# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from mlcl_plugin.engine import MLflowStepsVisBackend


def test_names_and_steps(tmp_path):
    """What MLflow gets, without MLflow."""
    calls = []
    backend = MLflowStepsVisBackend(str(tmp_path))
    backend._env_initialized = True
    backend._mlflow = SimpleNamespace(
        log_image=lambda image, key, step: calls.append((key, image.shape, step)),
        log_metric=lambda *args: calls.append(args),
        log_metrics=lambda *args: calls.append(args),
        MlflowException=ValueError,
    )
    backend.add_image('a&b', np.zeros((2, 3, 3), np.uint8), 4)
    backend.add_scalar('AP/é (x)', 0.5, 1)
    backend.add_scalars({'AP/é (x)': 0.5, 'loss': 2.0}, 3)
    assert calls == [
        ('a_b', (2, 3, 3), 4),
        ('AP/é _x_', 0.5, 1),
        ({'AP/é _x_': 0.5, 'loss': 2.0}, 3),
    ]


@pytest.mark.slow
def test_a_store(tmp_path, monkeypatch):
    """A real store takes the names and the pictures."""
    mlflow = pytest.importorskip('mlflow')
    # Files are stored below the current folder.
    monkeypatch.chdir(tmp_path)
    store = f'sqlite:///{tmp_path}/mlflow.db'
    backend = MLflowStepsVisBackend(
        str(tmp_path), exp_name='trial', tracking_uri=store, artifact_suffix=()
    )
    backend.add_config(Config(dict(work_dir=str(tmp_path), model=dict(type='A'))))
    for step in (1, 2):
        backend.add_scalars({'multi-label/AP/salt & pepper': step / 4}, step)
        backend.add_image('attention', np.full((8, 9, 3), step, np.uint8), step)
    client = mlflow.MlflowClient(store)
    (experiment,) = client.search_experiments(filter_string="name = 'trial'")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, 'multi-label/AP/salt _ pepper')
    assert [(value.step, value.value) for value in history] == [(1, 0.25), (2, 0.5)]
    backend.close()
    images = [file.path for file in client.list_artifacts(run.info.run_id, 'images')]
    for step in (1, 2):
        assert any(f'attention+step+{step}+' in path for path in images), images
