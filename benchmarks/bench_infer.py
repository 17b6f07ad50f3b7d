# SPDX-License-Identifier: Apache-2.0
"""Time the labelling of image files beside what the model alone allows."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from common import describe_environment, parse_args, quiet, write
from measure import Call, compare, deviations

from mlcl_plugin.apis import MultiLabelInferencer
from mlcl_plugin.inference.sources import select_sources

ENGINES = ('torch', 'onnxruntime')
BATCH = 8
ALONE = 'model alone'
DESCRIPTION = (
    'The shipped EfficientNet-Lite0 with its neighbours, 320 px, in batches of 8. '
    '"Model alone" is given the batches, "from files" reads and decodes the images, '
    'and decides. "2 processes": one more reads ahead.'
)


def make_images(folder: Path, number: int) -> list[str]:
    """Write smooth images of the size of photographs of VOC."""
    random = np.random.default_rng(0)
    paths = []
    for index in range(number):
        small = random.integers(0, 256, (12, 16, 3), np.uint8)
        path = str(folder / f'{index}.jpg')
        cv2.imwrite(path, cv2.resize(small, (500, 375), interpolation=cv2.INTER_CUBIC))
        paths.append(path)
    return paths


def make_calls(engine: str, paths: list[str]) -> dict[str, Call]:
    """The rivals, with an engine of ``MultiLabelInferencer``."""
    # Without a temperature, so that scores are those of the model.
    inferencer = MultiLabelInferencer(engine=engine, thr=0.5)
    batches = inferencer.preprocess(select_sources(paths).sources, BATCH)
    groups = [data for batch in batches for _, data in batch.groups]

    def alone() -> dict:
        found = [inferencer.forward(data) for data in groups]
        return dict(scores=[s.pred_score for samples in found for s in samples])

    def from_files(num_workers: int) -> Call:
        def call() -> dict:
            answers = inferencer(
                paths,
                batch_size=BATCH,
                num_workers=num_workers,
                return_scores=True,
                show_progress=False,
            )
            return dict(
                scores=[torch.tensor(list(a['scores'].values())) for a in answers]
            )

        return call

    return {
        ALONE: alone,
        'from files': from_files(0),
        'from files, 2 processes': from_files(1),
    }


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(
        __doc__,
        args,
        images=dict(type=Path, help='folder of images (default: made ones, 500 px)'),
        engines=dict(nargs='+', choices=ENGINES, default=list(ENGINES)),
    )
    quiet()
    environment = describe_environment()
    number, repeats = (4, 2) if args.quick else (200, 7)
    comparisons = []
    with tempfile.TemporaryDirectory() as folder:
        if args.images is None:
            paths = make_images(Path(folder), number)
        else:
            paths = sorted(map(str, args.images.glob('*.jpg')))[:number]
            if not paths:
                raise SystemExit(f'{args.images} has no image that ends with .jpg.')
        for engine in args.engines:
            calls = make_calls(engine, paths)
            found = deviations(calls, 1e-4)
            comparison = compare(calls, repeats)
            for name, rival in comparison['rivals'].items():
                rival['deviation'] = found[name]
            comparison.update(
                title=f'{len(paths)} images, {engine}', items=len(paths), unit='images'
            )
            comparisons.append(comparison)
    write(args, 'infer', 'Images from files', DESCRIPTION, environment, comparisons)


if __name__ == '__main__':
    main()
