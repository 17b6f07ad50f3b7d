# SPDX-License-Identifier: Apache-2.0
"""Compare forms of the memory of LabelNeighbours: bytes and mAP.

Neck and head are trained on stored features (``mlcl features``) of a part of the
training images. The memory holds the same images by the test view. The last training
images, left out of both, are the split to choose on.
"""

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import torch
from mean_ap import mean_ap
from mmengine.config import Config
from runs import last_checkpoint
from torch import Tensor

from mlcl_plugin.apis import build_loader, build_model, freeze_backbone
from mlcl_plugin.command_line import number, one_line_errors
from mlcl_plugin.engine import build_runner, end_after, step_config
from mlcl_plugin.errors import FinishedError
from mlcl_plugin.models import LabelNeighbours
from mlcl_plugin.models.neighbours import Votes, blend
from mlcl_plugin.models.utils import collect_targets
from mlcl_plugin.targets import UNKNOWN, is_absent
from mlcl_plugin.text_table import table_of_rows

WEIGHTS = (0.3, 0.7)
DIMS, PROTOTYPES, HARD = 32, (32, 64), 0.25
FORMS: dict[str, dict] = {
    'all, float16': {},
    'all, int8': dict(storage='int8'),
    f'{DIMS} principal axes, float16': dict(dims=DIMS),
    f'{DIMS} principal axes, int8': dict(dims=DIMS, storage='int8'),
    f'{2 * DIMS} principal axes, float16': dict(dims=2 * DIMS),
    f'{DIMS} random directions, float16': dict(random=DIMS),
    'centres, 32 present and 64 absent': dict(prototypes=PROTOTYPES),
    f'centres on {DIMS} principal axes': dict(prototypes=PROTOTYPES, dims=DIMS),
    f'hardest {HARD:.0%} of absent entries': dict(hard=HARD),
}


def train_head(cfg: Config, features: Path, num_tuning: int, step: str) -> str:
    """Train neck and head on features of all but the last training images.

    Args:
        cfg (Config): The recipe.
        features (Path): The folder of the features.
        num_tuning (int): How many images are left out.
        step (str): The last step to train.

    Returns:
        str: The checkpoint.
    """
    name = Path(cfg.filename).stem
    cfg = deepcopy(cfg)
    end_after(cfg, step)
    cfg = freeze_backbone(cfg, features, num_tuning)
    cfg.randomness = dict(seed=0)
    cfg.work_dir = f'work_dirs/neighbour_storage/{name}'
    cfg.resume = Path(cfg.work_dir).exists()
    with suppress(FinishedError):
        build_runner(cfg).train()
    return str(last_checkpoint(Path(cfg.work_dir)))


@torch.no_grad()
def outputs(cfg: Config, checkpoint: str) -> tuple[Tensor, Tensor, Tensor]:
    """Compute embeddings ``(N, L, D)``, logits and targets ``(N, L)`` of ``val``."""
    model = build_model(cfg, checkpoint)
    loader, _ = build_loader(cfg, 'val', num_images=10**6)
    parts = []
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        feats = model.extract_feat(data['inputs'])
        logits = model.head(feats)
        targets = collect_targets(data['data_samples'], logits.shape[1])
        parts.append((model.head.pre_logits(feats), logits, targets))
    embeddings, logits, targets = (torch.cat(x) for x in zip(*parts))
    return embeddings, logits, targets


def hide_easy(targets: Tensor, logits: Tensor, share: float) -> Tensor:
    """Make absent entries unknown, except those with the highest logits.

    Args:
        targets (Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        logits (Tensor): ``(N, L)``.
        share (float): The share of the absent entries of each label that stays, at
            least one.

    Returns:
        Tensor: ``(N, L)``.
    """
    absent = is_absent(targets)
    ranked = logits.masked_fill(~absent, -torch.inf)
    least = [
        row.topk(max(1, round(share * int(known)))).values[-1]
        for row, known in zip(ranked.T, absent.sum(0))
    ]
    return targets.masked_fill(absent & (ranked < torch.stack(least)), UNKNOWN)


def make_memory(
    form: dict, embeddings: Tensor, logits: Tensor, targets: Tensor
) -> tuple[LabelNeighbours, Tensor | None]:
    """Fill a memory; also return the random projection, if there is one."""
    form = dict(form)
    axes = None
    if 'random' in form:
        generator = torch.Generator().manual_seed(0)
        width = embeddings.shape[2]
        axes = torch.randn(width, form.pop('random'), generator=generator)
        embeddings = embeddings @ axes
    if 'hard' in form:
        targets = hide_easy(targets, logits, form.pop('hard'))
    memory = LabelNeighbours(**(dict(prototypes=None) | form))
    # Axes come from the first images that are added.
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    memory.add(embeddings[order], targets[order], order)
    memory.build([str(index) for index in range(len(targets))])
    return memory, axes


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='the recipe')
    parser.add_argument('features', type=Path, help='folder of the stored features')
    parser.add_argument(
        '--checkpoint', help='its checkpoint (default: it is trained in work_dirs)'
    )
    parser.add_argument(
        '--num-tuning',
        type=number(int, least=1),
        default=500,
        help='training images left out of training (default: 500)',
    )
    parser.add_argument('--step', default='step1', help='default: step1')
    parser.add_argument('--out', type=Path, help='a JSON file for the values')
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    with one_line_errors('neighbour_storage', {}):
        cfg = Config.fromfile(args.config)
        images = len(
            json.loads((args.features / 'train.json').read_text())['data_list']
        )
        checkpoint = args.checkpoint
        if checkpoint is None:
            checkpoint = train_head(cfg, args.features, args.num_tuning, args.step)
        # All training images, as the test pipeline shows them.
        stored = freeze_backbone(cfg, args.features, images)
        train = outputs(step_config(stored, args.step), checkpoint)
        stored = freeze_backbone(cfg, args.features)
        val = outputs(step_config(stored, args.step), checkpoint)
    own = [x[: -args.num_tuning] for x in train]
    parts = dict(split=[x[-args.num_tuning :] for x in train], val=val)
    rows = [dict(memory='none (classifier)', bytes=0)]
    for name, (_, logits, targets) in parts.items():
        rows[0][f'{name}, blend'] = mean_ap(logits, targets)
    for form, options in FORMS.items():
        memory, axes = make_memory(options, *own)
        row = dict(memory=form, bytes=memory.num_bytes - memory.names.numel())
        for name, (embeddings, logits, targets) in parts.items():
            queries = embeddings if axes is None else embeddings @ axes
            votes = [memory(batch) for batch in queries.split(64)]
            joined = Votes(*(torch.cat(x) for x in zip(*votes)))
            log_odds = joined.present - joined.absent
            row[f'{name}, neighbours'] = mean_ap(log_odds, targets)
            row[f'{name}, blend'] = mean_ap(blend(logits, [joined], WEIGHTS), targets)
        rows.append(row)
        print(row, flush=True)
    columns = [f'{part}, {kind}' for part in parts for kind in ('neighbours', 'blend')]
    print(
        table_of_rows(
            [
                {'': row['memory'], 'MB': f'{row["bytes"] / 1e6:.2f}'}
                | {key: f'{row[key]:.2f}' if key in row else '' for key in columns}
                for row in rows
            ]
        )
    )
    if args.out:
        args.out.write_text(json.dumps(dict(weights=WEIGHTS, rows=rows), indent=1))
        print(os.path.relpath(args.out))


if __name__ == '__main__':
    main()
