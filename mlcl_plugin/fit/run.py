# SPDX-License-Identifier: Apache-2.0
"""From photographs with labels to a model that is known to be good, or not."""

import json
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from ..data_check import check_datasets
from ..data_check.check import ALWAYS_PRESENT, NEVER_PRESENT
from ..data_check.findings import one_line
from ..engine import base_config, check_config, freeze_backbone
from ..evaluation.decisions import Decisions
from ..fit_folder import STATE, check_fit_folder
from ..inference import MultiLabelInferencer, build_model
from ..plain_text import list_some
from ..visualization.training_curves import read_training, training_figure
from .backbone import DEFAULT, find_backbone
from .baseline import fit_baseline
from .console import Console, duration, log_to_file
from .evaluate import (
    LINEAR,
    MODEL,
    NEAREST,
    Found,
    PartResult,
    evaluate_part,
    find_decisions,
)
from .make_config import make_config, write_tables
from .options import FitOptions, read_val
from .read_data import read_photographs
from .recipe import Recipe, choose_recipe
from .report import (
    PRINTED_LABELS,
    TOO_GOOD,
    foretold,
    label_table,
    overview,
    report_json,
    report_text,
    verdict,
)
from .scores import score_part
from .speed import fit_time, measure_speed
from .split_data import Parts, split_photographs
from .training import FrozenFeatures, read_curves, take_model, train

NUM_EXAMPLES = 8


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves.

    Attributes:
        config (Path): The config, which ``mlcl train`` repeats.
        checkpoint (Path): The model.
        decisions (Path): Thresholds, and a temperature.
        report (Path): The report.
        val (PartResult): The evaluation of the validation images.
        test (PartResult, optional): That of the test images.
        found (Found): The thresholds, and what cannot be known.
        seconds (float): How long it took.
    """

    config: Path
    checkpoint: Path
    decisions: Path
    report: Path
    val: PartResult
    test: PartResult | None
    found: Found
    seconds: float


def fit(
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    val: str | os.PathLike | float | None = None,
    test: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    classes: Sequence[str] | None = None,
    group: str | None = None,
    recipe: str = 'auto',
    backbone: str = 'efflite0',
    image_size: int | None = None,
    epochs: int | None = None,
    time: float | None = None,
    plain: bool = False,
    seed: int = 0,
    device: str | None = None,
    resume: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
    stream: TextIO | None = None,
) -> Fitted:
    """Train a model on photographs, find its thresholds and say how good it is.

    .. code-block:: python

        from mlcl_plugin.apis import fit

        fitted = fit('photos/labels.csv', 'work_dirs/photos')
        print(fitted.checkpoint, fitted.report)

    Args:
        source (str | PathLike): The photographs with their labels: a table, a JSON in
            the form of COCO or MMPretrain, a folder in the form of VOC, one with
            ``metadata.jsonl``, or one with a folder per label.
        out (str | PathLike): The folder of the results.
        val (str | PathLike | float, optional): Validation images, or their share of
            ``source``. Defaults to None: those of ``source``, or else a share of 0.2.
        test (str | PathLike, optional): Test images. Defaults to those of ``source``.
        images (str | PathLike, optional): The folder of the images. Defaults to None:
            it is looked for.
        classes (Sequence[str], optional): The labels to learn. Defaults to all.
        group (str, optional): The column of a table whose values stay together when
            validation images are drawn. Defaults to None.
        recipe (str): ``'frozen'`` trains on features that are computed once, ``'full'``
            the whole network; ``'auto'`` chooses by images and device.
        backbone (str): ``'efflite0'``, ``'timm/NAME'`` or a name of MMPretrain.
        image_size (int, optional): Width and height of the images. Defaults to 320 for
            a frozen backbone, else 224.
        epochs (int, optional): Epochs of step 1. Defaults to what the images need.
        time (float, optional): Seconds that all may take, about. Defaults to None.
        plain (bool): Whether to train without contrast. Defaults to False.
        seed (int): Seed of the division and the training. Defaults to 0.
        device (str, optional): Where to train. Defaults to a GPU, if there is one.
        resume (bool): Whether to go on where an earlier call stopped.
        cfg_options (Mapping, optional): Values of the config by dotted key.
        stream (TextIO, optional): Where progress is written. Defaults to stdout.

    Returns:
        Fitted: The files, and how good the model is.

    Raises:
        FileExistsError: If ``out`` has another fit.
        FileNotFoundError: If a file or an image is missing.
        ImportError: If a package is missing.
        ValueError: If an option or the data is wrong.
    """
    options = FitOptions(
        source=str(source),
        out=Path(out),
        val=val if val is None or isinstance(val, float) else read_val(str(val)),
        test=None if test is None else str(test),
        images=None if images is None else str(images),
        classes=classes,
        group=group,
        recipe=recipe,
        backbone=backbone,
        image_size=image_size,
        epochs=epochs,
        time=time,
        plain=plain,
        seed=seed,
        device=device,
        resume=resume,
        cfg_options=dict(cfg_options or {}),
    )
    return run_fit(options, Console(stream))


def run_fit(options: FitOptions, console: Console) -> Fitted:
    """Fit as :func:`fit` does, from options.

    Args:
        options (FitOptions): The options.
        console (Console): Where progress is written.

    Returns:
        Fitted: The files, and how good the model is.
    """
    data = read_photographs(
        options.source, options.images, options.classes, options.group
    )
    parts = split_photographs(
        data, options.val, options.test, options.images, options.seed
    )
    recipe = choose_recipe(options, parts)
    backbone = find_backbone(options.backbone)
    out = options.out
    is_new = _claim(options)
    with (
        log_to_file(console, out / 'log.txt'),
        DefaultScope.overwrite_default_scope('mmpretrain'),
    ):
        tables = write_tables(parts, out)
        try:
            cfg = make_config(options, parts, recipe, backbone, tables)
            check_config(cfg)
        except ValueError:
            if is_new:
                _release(out)
            raise
        if options.time is not None:
            recipe = _in_time(options, parts, recipe, cfg, console)
            cfg = make_config(options, parts, recipe, backbone, tables)
        config = out / 'config.py'
        cfg.dump(config)
        console.field('data', _describe(parts))
        console.field(
            'model', f'{backbone.name}, label attention, {recipe.image_size} px'
        )
        console.field('device', _describe_device(recipe.device))
        console.field('recipe', f'{recipe.text}; {_describe_blend(cfg)}')
        console.field('results', str(out))
        _check(cfg, console, out)
        torch.manual_seed(options.seed)
        features = _find_features(options, cfg)
        features.compute(console)
        resume = options.resume and Path(cfg.work_dir).exists()
        train(cfg, console, resume, options.device)
        checkpoint = out / 'model.pth'
        take_model(cfg, checkpoint)
        return _judge(options, console, parts, recipe, cfg, features, checkpoint)


def _claim(options: FitOptions) -> bool:
    """Make the folder, or take one of a fit with the same options.

    Returns:
        bool: Whether there was no fit.

    Raises:
        FileExistsError: If there is another fit, or this one is not to be resumed.
        ValueError: If a fit is resumed with other options.
    """
    state = options.out / STATE
    own = asdict(options)
    own.pop('resume')
    own = json.loads(json.dumps(own, default=str))
    if check_fit_folder(options.out, options.resume):
        before = json.loads(state.read_text())
        other = [key for key in own if before.get(key) != own[key]]
        if other:
            raise ValueError(
                f"The fit in '{options.out}' was begun with another "
                + ', '.join(f'{key}={before.get(key)!r}' for key in other)
                + '. resume=True needs the same options. For others choose another '
                'folder, out=DIR, or delete this one.'
            )
        return False
    options.out.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps(own, indent=1) + '\n')
    return True


def _release(out: Path) -> None:
    """Empty a folder that was claimed, so that it is free for other options."""
    for path in out.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _in_time(
    options: FitOptions, parts: Parts, recipe: Recipe, cfg: Config, console: Console
) -> Recipe:
    """The recipe for the time that is given; that of an earlier call, if there is one.

    A resumed fit must train what it has begun.
    """
    file = options.out / 'recipe.json'
    if file.is_file():
        content = json.loads(file.read_text())
        return Recipe(**dict(content, epochs=tuple(content['epochs'])))
    numbers = {name: len(labels.images) for name, labels in parts.parts.items()}
    train_images = numbers.pop('train')
    seconds = options.time or 0.0
    recipe, estimate = fit_time(
        recipe,
        seconds,
        measure_speed(cfg, recipe.device),
        train_images,
        sum(numbers.values()),
    )
    if estimate > 1.2 * seconds:
        console.line(
            f'note: {duration(seconds)} is too short; the least takes about '
            f'{duration(estimate)}.'
        )
    file.write_text(json.dumps(asdict(recipe), indent=1) + '\n')
    return recipe


def _describe(parts: Parts) -> str:
    numbers = {name: f'{len(own.images):,} {name}' for name, own in parts.parts.items()}
    if parts.divided:
        numbers['val'] += ' (drawn from the same)'
    return f'{", ".join(numbers.values())} images, {len(parts.classes)} labels'


def _describe_blend(cfg: Config) -> str:
    """What the scores are made of."""
    weights = cfg.model.get('weights')
    if weights is None:
        return 'scores of its head'
    head, *members = weights
    shares = {'head': head}
    for config, weight in zip(cfg.model.neighbours, members):
        logistic = config['type'] == 'PooledLogistic'
        name = 'logistic regression' if logistic else 'neighbours'
        shares[name] = shares.get(name, 0.0) + weight
    parts = [f'{100 * share:.0f} % {name}' for name, share in shares.items() if share]
    return f'scores of {", ".join(parts)}'


def _describe_device(device: str) -> str:
    if device == 'cpu':
        return f'CPU, {torch.get_num_threads()} thread(s)'
    return torch.cuda.get_device_name(device) if device.startswith('cuda') else device


def _find_features(options: FitOptions, cfg: Config) -> FrozenFeatures:
    """The features of the frozen backbone, which may have to be fetched.

    Raises:
        OSError: If the weights of the backbone cannot be had.
    """
    try:
        return FrozenFeatures(cfg, options.seed, options.device)
    except OSError as error:
        if options.backbone == DEFAULT:
            raise
        raise OSError(
            f"The weights of backbone='{options.backbone}' cannot be fetched: "
            f"{one_line(error)} Without a network take '{DEFAULT}', whose weights are "
            'installed.'
        ) from error


def _check(cfg: Config, console: Console, out: Path) -> None:
    """Check the data.

    Raises:
        ValueError: If something would break the training or spoil it.
    """
    seen = Config(cfg.to_dict())
    if not (out / 'data' / 'test.csv').is_file():
        # Validation images stand in for test images; they are checked once.
        seen.pop('test_dataloader')
    report = check_datasets(seen)
    (out / 'data' / 'check.md').write_text(report.to_markdown('Data'), encoding='utf-8')
    (out / 'data' / 'check.json').write_text(report.to_json() + '\n', encoding='utf-8')
    errors = [f for f in report.findings if f.level == 'error']
    if errors:
        first = errors[0]
        examples = f' The first: {first.examples[0]}.' if first.examples else ''
        more = f' ({len(errors) - 1} more findings)' if len(errors) > 1 else ''
        raise ValueError(
            f'{", ".join(first.splits)}: {first.message}{examples}{more} See '
            f'{out / "data" / "check.md"}.'
        )
    for finding in report.findings[:3]:
        of_labels = finding.kind in (NEVER_PRESENT, ALWAYS_PRESENT)
        names = f' {list_some(finding.examples, 3)}' if of_labels else ''
        console.line(f'  note: {", ".join(finding.splits)}: {finding.message}{names}')
    if len(report.findings) > 3:
        console.line(
            f'  {len(report.findings) - 3} more notes: {out / "data/check.md"}'
        )


def _judge(
    options: FitOptions,
    console: Console,
    parts: Parts,
    recipe: Recipe,
    cfg: Config,
    features: FrozenFeatures,
    checkpoint: Path,
) -> Fitted:
    """Score, find thresholds, compare with the baseline and write everything."""
    out = options.out
    targets = torch.from_numpy(parts.parts['train'].targets.toarray())
    baseline = fit_baseline(features.pooled(), targets, options.seed)
    results, found = [], None
    decisions: dict[str, Decisions] = {}
    for name in [part for part in parts.parts if part != 'train']:
        own = cfg
        if recipe.kind == 'frozen' and name == 'val':
            # Their features are there already.
            own = freeze_backbone(base_config(cfg), features.folder)
        model = build_model(Config(own.to_dict()), str(checkpoint), recipe.device)
        if recipe.kind == 'frozen' and name != 'val':
            model.backbone = features.extraction.fast_backbone()
        backbone: nn.Module = model.get_submodule('backbone')
        if recipe.kind != 'frozen':
            backbone = features.backbone.to(recipe.device)
            backbone.eval()
        scored = score_part(model, backbone, own, name)
        scored.dump.save(out / f'{name}_scores.csv')
        rivals = {
            LINEAR: baseline.linear_scores(scored.pooled),
            NEAREST: baseline.neighbour_scores(scored.pooled),
        }
        if found is None:
            found = find_decisions(scored.dump, options.seed)
            found.decisions.save(out / 'decisions.json')
            decisions[MODEL] = found.decisions
            for key, scores in rivals.items():
                dump = type(scored.dump)(
                    scores, scored.dump.targets, scored.dump.classes, scored.dump.images
                )
                decisions[key] = find_decisions(dump, options.seed).decisions
        results.append(
            evaluate_part(name, scored.dump, rivals, decisions, options.seed)
        )
    if found is None:
        raise ValueError('There are no validation images.')
    pictures = []
    training = read_training(read_curves(cfg))
    if training.panels:
        training_figure(training).savefig(out / 'curves.png')
        pictures.append('curves.png')
    pictures += _draw_examples(cfg, checkpoint, parts, recipe, out)
    last = results[-1]
    facts = [
        ('data', _describe(parts)),
        ('recipe', f'{recipe.text}; {_describe_blend(cfg)}'),
        ('C of logistic regression', f'{baseline.strength:g}'),
        ('time', duration(console.elapsed)),
    ]
    notes = [*parts.notes, *found.notes]
    report = out / 'report.md'
    report.write_text(
        report_text(
            f'Fit of {options.source}',
            facts,
            results,
            found.decisions,
            found.report,
            notes,
            pictures,
        ),
        encoding='utf-8',
    )
    (out / 'report.json').write_text(
        json.dumps(report_json(results, found.report, notes), indent=1) + '\n'
    )
    console.line()
    console.line(label_table(last, PRINTED_LABELS))
    console.line()
    console.line(overview(results))
    for part in results:
        console.line(f'{verdict(part)}.')
    console.line(TOO_GOOD)
    for line in foretold(found.report, results):
        console.line(line)
    for note in notes:
        console.line(f'note: {note}.')
    console.line()
    console.line(f'{duration(console.elapsed)}; the report: {report}')
    for line in next_commands(out, parts):
        console.line(f'  {line}')
    named = {result.name: result for result in results}
    return Fitted(
        out / 'config.py',
        checkpoint,
        out / 'decisions.json',
        report,
        named['val'],
        named.get('test'),
        found,
        console.elapsed,
    )


def _draw_examples(
    cfg: Config, checkpoint: Path, parts: Parts, recipe: Recipe, out: Path
) -> list[str]:
    """Draw the answers for some images that were not trained on."""
    name = 'test' if 'test' in parts.parts else 'val'
    images = parts.parts[name].images
    step = max(1, len(images) // NUM_EXAMPLES)
    chosen = [str(parts.root / image) for image in images[::step][:NUM_EXAMPLES]]
    inferencer = MultiLabelInferencer(
        Config(cfg.to_dict()),
        checkpoint,
        recipe.device,
        decisions=out / 'decisions.json',
    )
    folder = out / 'examples'
    found = inferencer(
        chosen,
        out_dir=folder,
        overwrite=True,
        return_attention=True,
        show_progress=False,
    )
    return [
        os.path.relpath(answer['picture'], out)
        for answer in found
        if 'picture' in answer
    ]


def next_commands(out: Path, parts: Parts) -> list[str]:
    """Commands that use what a fit has left, with their paths."""

    def path(name: str) -> str:
        return shlex.quote(str(out / name))

    files = f'{path("config.py")} {path("model.pth")}'
    example = shlex.quote(os.path.normpath(parts.root))
    return [
        'label photographs, those of the training or others:',
        f'  mlcl infer {example} {files} --decisions {path("decisions.json")} '
        f'--out {path("answers.jsonl")}',
        'see all on one page:',
        f'  mlcl report {shlex.quote(str(out))}',
        'evaluate again (with thresholds of these images, so CF1 is too good):',
        f'  mlcl evaluate {path("val_scores.csv")} --decisions '
        f'{path("decisions.json")}',
        'train again:',
        f'  mlcl train {path("config.py")} --work-dir {path("again")}',
    ]
