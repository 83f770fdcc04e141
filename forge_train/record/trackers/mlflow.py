"""MLflow: a tracking server, a database, or files in the run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from forge_train.record.trackers.tracker import About

AT_ONCE = 100
"""Parameters that MLflow takes in one request."""
LONGEST = 500
"""Characters of a parameter that every version of MLflow takes."""


class MLflow:
    """A run of the experiment `experiment` at `uri`.

    Without `uri` it is MLFLOW_TRACKING_URI, or else RUN/mlruns. sqlite:///FILE needs the whole of MLflow; the
    small package (mlflow-skinny) knows servers and files.
    """

    def __init__(self, about: About, *, uri: str = "", experiment: str = "forge") -> None:
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or (about.folder.resolve() / "mlruns").as_uri()
        if uri.startswith("file:") or "://" not in uri:
            # It wants to be told that files will do, before it is imported.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        self._client = MlflowClient(uri)
        if about.id is not None:
            self._id = about.id
            self._client.set_terminated(self._id, "RUNNING")
            return
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        self._id = str(self._client.create_run(number, run_name=about.name).info.run_id)
        params = [Param(key, str(value)[:LONGEST]) for key, value in about.config.items()]
        for start in range(0, len(params), AT_ONCE):
            self._client.log_batch(self._id, params=params[start : start + AT_ONCE])

    @property
    def id(self) -> str:
        """That of MLflow's run."""
        return self._id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """All in one request."""
        now = int(1000 * time.time())
        self._client.log_batch(
            self._id, metrics=[self._metric(name, value, now, step) for name, value in values.items()]
        )

    def rewind(self, step: int) -> None:
        """A figure's history is never taken back: what is repeated stands there twice."""

    def keep(self, path: Path) -> None:
        """As an artifact of the run."""
        self._client.log_artifact(self._id, str(path))

    def close(self, failed: bool) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")
