# SPDX-License-Identifier: Apache-2.0
"""The file of results of a suite: finished runs by ``METHOD/SEED``."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import ConfigDict

FOLDER = Path(__file__).resolve().parent / 'results'


class ResultsFile:
    """Finished runs of a suite, kept in a file.

    ``runs`` holds those of the suite's present configs by ``METHOD/SEED``. ``outdated``
    lists those of other configs; none is thrown away.

    Args:
        path (Path): The file; it need not exist.
        current (Mapping[str, str]): The fingerprint that each run has now.
    """

    def __init__(self, path: Path, current: Mapping[str, str]):
        self.path = path
        self.runs: dict[str, dict] = {}
        self.outdated: list[dict] = []
        content = json.loads(path.read_text()) if path.exists() else {}
        found = [dict(run, run=key) for key, run in content.get('runs', {}).items()]
        # A run that was outdated may fit again. A later one has priority.
        for run in [*content.get('outdated', []), *found]:
            if current.get(run['run']) == run['fingerprint']:
                self.runs[run['run']] = {k: v for k, v in run.items() if k != 'run'}
            else:
                self.outdated.append(run)

    def write(self, name: str, suite: ConfigDict) -> dict:
        """Write the file.

        Args:
            name (str): The name of the suite.
            suite (ConfigDict): The suite.

        Returns:
            dict: The content of the file.
        """
        content = dict(
            name=name,
            title=suite.title,
            description=suite.description,
            reference=suite.reference,
            frozen=bool(suite.get('frozen')),
            num_tuning=suite.get('num_tuning', 0),
            amp=bool(suite.get('amp')),
            embeddings=suite.get('embeddings'),
            methods={
                name: dict(
                    label=method.get('label', name),
                    config=method.config,
                    start=method.get('start'),
                    reference=method.get('reference') or suite.reference,
                )
                for name, method in suite.methods.items()
            },
            runs=self.runs,
        )
        if self.outdated:
            content['outdated'] = self.outdated
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix('.part')
        part.write_text(json.dumps(content, indent=1) + '\n')
        os.replace(part, self.path)
        return content
