# SPDX-License-Identifier: Apache-2.0
"""What compare_methods.py found, as Markdown and as a plot."""

from pathlib import Path
from statistics import mean, stdev

import matplotlib

matplotlib.use('agg')
import matplotlib.pyplot as plt
from report import COLOURS, markdown
from scipy.stats import t

METRICS = {
    'multi-label/mAP': 'mAP',
    'multi-label/CF1': 'CF1',
    'multi-label/OF1': 'OF1',
}


def runs_of(result: dict, name: str) -> dict[int, dict]:
    """The finished runs of a method by seed."""
    runs = {}
    for key, run in result['runs'].items():
        method, _, seed = key.rpartition('/')
        if method == name:
            runs[int(seed)] = run
    return dict(sorted(runs.items()))


def figures_of(result: dict, run: dict, group: str) -> dict:
    """A run's metrics or, if measured by the suite's present options, embeddings."""
    if group == 'embeddings' and run.get('embeddings_by') != result['embeddings']:
        return {}
    return run[group]


def interval(values: list[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent values and its confidence interval by Student's t.

    Args:
        values (list[float]): At least one.
        level (float): Of confidence. Defaults to 0.95.

    Returns:
        tuple[float, float, float]: Mean, lower and upper end; infinite ends for a
        single value.
    """
    centre = mean(values)
    if len(values) < 2:
        return centre, float('-inf'), float('inf')
    half = t.ppf((1 + level) / 2, len(values) - 1) * stdev(values)
    half /= len(values) ** 0.5
    return centre, centre - half, centre + half


def reference_of(result: dict, name: str) -> str:
    """The method that another is compared with."""
    return result['methods'][name].get('reference', result['reference'])


def differences(
    result: dict, name: str, metric: str, group: str = 'metrics'
) -> list[float]:
    """What a method has more than its reference, for every seed that both have."""
    runs = runs_of(result, name)
    reference = runs_of(result, reference_of(result, name))
    pairs = [
        (figures_of(result, run, group), figures_of(result, reference[seed], group))
        for seed, run in runs.items()
        if seed in reference
    ]
    return [mine[metric] - theirs[metric] for mine, theirs in pairs if mine and theirs]


def format_spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    spread = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
    return f'{mean(values):.2f}{spread}'


def format_differences(deltas: list[float]) -> str:
    """Mean and, of several, the interval."""
    if not deltas:
        return ''
    centre, low, high = interval(deltas)
    ends = f' ({low:+.2f} to {high:+.2f})' if len(deltas) > 1 else ''
    return f'{centre:+.2f}{ends}'


def cost(result: dict, name: str, field: str) -> float:
    """Mean over seeds of images or seconds, those of the start included."""
    total = mean(run[field] for run in runs_of(result, name).values())
    start = result['methods'][name]['start']
    return total + (0 if start is None else cost(result, start, field))


def first_steps(result: dict, name: str) -> list[float]:
    """MAP of a method's runs after the first of several steps, their own or that of
    the run they start from.
    """
    start = result['methods'][name]['start']
    if start is not None:
        # They share it: only the seeds of this method count.
        starts = runs_of(result, start)
        runs = [starts[seed] for seed in runs_of(result, name) if seed in starts]
        return [run['metrics']['multi-label/mAP'] for run in runs]
    values = []
    for run in runs_of(result, name).values():
        # by step and epoch, in order
        steps = [key.partition('/')[0] for key in run['mAP']]
        if len(set(steps)) > 1:
            first = len(steps) - 1 - steps[::-1].index(steps[0])
            values.append(list(run['mAP'].values())[first])
    return values


def method_table(result: dict) -> str:
    """One row a method: metrics over seeds, difference to its reference, costs."""
    rows = []
    # of methods that train both steps by themselves nothing else tells the first
    both = any(
        result['methods'][name]['start'] is None and first_steps(result, name)
        for name in result['methods']
    )
    own_references = any(
        reference_of(result, name) != result['reference'] for name in result['methods']
    )
    for name, method in result['methods'].items():
        runs = runs_of(result, name)
        if not runs:
            continue
        row = {'': method['label'], 'seeds': str(len(runs))}
        if both:
            values = first_steps(result, name)
            row['mAP after step 1'] = format_spread(values) if values else ''
        for metric, title in METRICS.items():
            values = [run['metrics'][metric] for run in runs.values()]
            row[title] = format_spread(values)
        if own_references:
            reference = reference_of(result, name)
            row['reference'] = result['methods'][reference]['label']
        if name == result['reference']:
            row['mAP to reference'] = 'reference'
        else:
            deltas = differences(result, name, 'multi-label/mAP')
            row['mAP to reference'] = format_differences(deltas)
        row['images seen'] = f'{cost(result, name, "images"):,.0f}'
        row['minutes'] = f'{cost(result, name, "seconds") / 60:.1f}'
        rows.append(row)
    return markdown(rows)


def embedding_table(result: dict) -> str:
    """One row a method: what its embeddings are worth, and differences to reference."""
    rows, group = [], 'embeddings'
    for name, method in result['methods'].items():
        runs = runs_of(result, name).values()
        runs = [figures for run in runs if (figures := figures_of(result, run, group))]
        if not runs:
            continue
        row = {'': method['label']}
        for figure in runs[0]:
            row[figure] = f'{mean(figures[figure] for figures in runs):.2f}'
            deltas = differences(result, name, figure, group)
            if name != reference_of(result, name) and len(deltas) > 1:
                centre, _, high = interval(deltas)
                row[figure] += f' ({centre:+.2f} ± {high - centre:.2f})'
        rows.append(row)
    return markdown(rows)


def format_methods(result: dict) -> str:
    """Everything that is said of a suite but its plot.

    Args:
        result (dict): The content of a file of results.

    Returns:
        str: Markdown.
    """
    runs = result['runs'].values()
    dates = sorted({run['date'][:10] for run in runs})
    commits = sorted({run['commit'] or 'unknown' for run in runs})
    machines = sorted(
        {
            f'{run["processor"]}, {run["cores"]} cores, torch {run["torch"]}, '
            f'runs at a time: {run["jobs"]}, threads of each: {run["threads"]}'
            for run in runs
        }
    )
    notes = [
        f'`python benchmarks/compare_methods.py benchmarks/suites/{result["name"]}.py`',
        ' to '.join(dict.fromkeys((dates[0], dates[-1]))),
        f'commits {", ".join(commits)}',
        *machines,
    ]
    embeddings = []
    if result.get('embeddings'):
        shots = ' and '.join(map(str, result['embeddings']['shots']))
        embeddings = [
            "What the labels' embeddings of the validation images are worth without "
            'the classifier, in % but for alignment and uniformity: mean over seeds, '
            'and in brackets the difference to the reference with half its 95 % '
            'interval. *between*: retrieval among the embeddings of present labels; '
            '*within*: of a label among all images; linear probe, and centroids of '
            f'{shots} present images and as many absent ones, are learned on half of '
            'the images and scored on the other (`mlcl_plugin/evaluation/'
            'embedding_quality.py`, `mlcl_plugin/apis/label_embeddings.py`).',
            embedding_table(result),
        ]
    return '\n\n'.join(
        [
            result['description'],
            method_table(result),
            '± is the standard deviation over seeds. Differences are taken seed by '
            'seed; in brackets their 95 % interval (Student), each for itself: of '
            'many, some exclude zero by chance. The metrics are those of the last '
            'epoch, whichever was best. Images and minutes count the step that a run '
            'started from; minutes are of training alone, with other runs beside it '
            'where several ran at a time.',
            *embeddings,
            '; '.join(notes) + '.',
        ]
    )


def draw_methods(result: dict, folder: Path) -> Path:
    """Draw the mAP of every run, and the differences to the reference.

    Args:
        result (dict): The content of a file of results.
        folder (Path): Where to put the picture.

    Returns:
        Path: The picture, ``NAME.png``.
    """
    names = [name for name in result['methods'] if runs_of(result, name)]
    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(10, 1.2 + 0.34 * len(names)),
        sharey=True,
        width_ratios=(3, 2),
        layout='constrained',
    )
    figure.suptitle(result['title'])
    for row, name in enumerate(names):
        values = [
            run['metrics']['multi-label/mAP'] for run in runs_of(result, name).values()
        ]
        left.plot(values, [row] * len(values), 'o', color=COLOURS[0], markersize=4)
        left.plot(mean(values), row, '|', color=COLOURS[5], markersize=14, mew=2)
        deltas = differences(result, name, 'multi-label/mAP')
        if name == reference_of(result, name) or not deltas:
            continue
        centre, low, high = interval(deltas)
        right.plot(deltas, [row] * len(deltas), 'o', color=COLOURS[0], markersize=4)
        right.plot(centre, row, '|', color=COLOURS[5], markersize=14, mew=2)
        if len(deltas) > 1:
            right.plot([low, high], [row, row], color=COLOURS[5], linewidth=1)
    left.set_yticks(
        range(len(names)), [result['methods'][name]['label'] for name in names]
    )
    left.invert_yaxis()
    left.set_xlabel('mAP: seeds (dots), mean (bar)', fontsize=9)
    right.axvline(0, color='grey', linewidth=0.8, linestyle=':')
    right.set_xlabel('mAP over its reference, 95 % interval', fontsize=9)
    for axis in (left, right):
        axis.tick_params(labelsize=8)
        axis.grid(axis='x', linewidth=0.4)
        axis.spines[['top', 'right']].set_visible(False)
    path = folder / f'{result["name"]}.png'
    figure.savefig(path, dpi=120, metadata={'Software': None})
    plt.close(figure)
    return path
