# SPDX-License-Identifier: Apache-2.0
"""Write the results of a suite as Markdown and as a plot."""

from pathlib import Path
from statistics import mean, stdev

import matplotlib

matplotlib.use('agg')
import matplotlib.pyplot as plt
from scipy.stats import t

from mlcl_plugin.text_table import table_of_rows

# Colours that people with any colour vision can tell apart (Okabe and Ito).
SEED_COLOUR, MEAN_COLOUR = '#0072b2', '#d55e00'

CLASSIFIER = 'classifier'
"""The blend that others are compared with."""
METRICS = {
    'multi-label/mAP': 'mAP',
    'multi-label/CF1': 'CF1',
    'multi-label/OF1': 'OF1',
}

NOTES = (
    '± is the standard deviation over seeds. Differences are taken seed by seed. In '
    'brackets is their 95 % interval (Student), computed for each difference alone: of '
    'many intervals, some exclude zero by chance. The metrics are those of the last '
    'epoch, even if an earlier one was better. Images and minutes include the step '
    'that a run started from. Minutes are those of training alone, with other runs at '
    'the same time where more than one run at a time is stated.',
    'Tables of embeddings measure the label embeddings of the validation images '
    'without the classifier, in % except for alignment and uniformity. They show the '
    'mean over seeds, and in brackets the difference to the reference ± half of its 95 '
    '% interval. *between*: retrieval among the embeddings of all present labels. '
    '*within*: retrieval of one label among all images. The linear probe, and the '
    'centroids of K present and K absent images (K-shot), are learned on half of the '
    'images and scored on the other half '
    '(`mlcl_plugin/evaluation/embedding_quality.py`).',
)
"""How to read the tables, for the page that shows them."""


def runs_of(result: dict, name: str) -> dict[int, dict]:
    """The finished runs of a method by seed."""
    runs = {}
    for key, run in result['runs'].items():
        method, _, seed = key.rpartition('/')
        if method == name:
            runs[int(seed)] = run
    return dict(sorted(runs.items()))


def values_of(result: dict, run: dict, group: str) -> dict:
    """A run's metrics, or the measures of its embeddings.

    The latter only if they were measured with the suite's present options.
    """
    if group == 'embeddings' and run.get('embeddings_by') != result['embeddings']:
        return {}
    return run[group]


def interval(values: list[float], level: float = 0.95) -> tuple[float, float, float]:
    """Compute the mean of independent values and its interval by Student's t.

    Args:
        values (list[float]): At least one.
        level (float): The confidence level. Defaults to 0.95.

    Returns:
        tuple[float, float, float]: Mean, lower and upper end. The ends of a single
        value are infinite.
    """
    centre = mean(values)
    if len(values) < 2:
        return centre, float('-inf'), float('inf')
    half = t.ppf((1 + level) / 2, len(values) - 1) * stdev(values)
    half /= len(values) ** 0.5
    return centre, centre - half, centre + half


def reference_of(result: dict, name: str) -> str:
    """The method that a method is compared with."""
    return result['methods'][name].get('reference', result['reference'])


def differences(
    result: dict, name: str, metric: str, group: str = 'metrics'
) -> list[float]:
    """Subtract the reference from a method, for every seed that both have."""
    runs = runs_of(result, name)
    reference = runs_of(result, reference_of(result, name))
    pairs = [
        (values_of(result, run, group), values_of(result, reference[seed], group))
        for seed, run in runs.items()
        if seed in reference
    ]
    return [mine[metric] - theirs[metric] for mine, theirs in pairs if mine and theirs]


def format_spread(values: list[float]) -> str | None:
    """Mean and standard deviation; None without values."""
    if not values:
        return None
    spread = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
    return f'{mean(values):.2f}{spread}'


def format_differences(deltas: list[float]) -> str | None:
    """Mean and, of several, the interval; None without values."""
    if not deltas:
        return None
    centre, low, high = interval(deltas)
    ends = f' ({low:+.2f} to {high:+.2f})' if len(deltas) > 1 else ''
    return f'{centre:+.2f}{ends}'


def cost(result: dict, name: str, field: str) -> float:
    """Mean of images or seconds over seeds, with those of the run it starts from."""
    total = mean(run[field] for run in runs_of(result, name).values())
    start = result['methods'][name]['start']
    return total + (0 if start is None else cost(result, start, field))


def first_steps(result: dict, name: str) -> list[float]:
    """List the mAP of a method's runs after the first of several steps.

    That step is their own, or the run that they start from.
    """
    start = result['methods'][name]['start']
    if start is not None:
        # Other methods start there, too: only the seeds of this one count.
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
    """Write a row per method: metrics, difference to its reference, costs."""
    rows = []
    # For methods that train both steps themselves, no other row shows the first.
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
            row['mAP after step 1'] = format_spread(first_steps(result, name))
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
    return table_of_rows(rows)


def embedding_table(result: dict) -> str:
    """Write a row per method: measures of its embeddings, differences to reference."""
    rows, group = [], 'embeddings'
    for name, method in result['methods'].items():
        runs = [values_of(result, run, group) for run in runs_of(result, name).values()]
        runs = [values for values in runs if values]
        if not runs:
            continue
        row = {'': method['label']}
        for measure in runs[0]:
            row[measure] = f'{mean(values[measure] for values in runs):.2f}'
            deltas = differences(result, name, measure, group)
            if name != reference_of(result, name) and len(deltas) > 1:
                centre, _, high = interval(deltas)
                row[measure] += f' ({centre:+.2f} ± {high - centre:.2f})'
        rows.append(row)
    return table_of_rows(rows)


def neighbour_table(result: dict) -> str:
    """Write a row per method: mAP of each blend, and what it adds to the classifier."""
    found = {
        name: [run['neighbours'] for run in runs_of(result, name).values()]
        for name in result['methods']
        if any('neighbours' in run for run in runs_of(result, name).values())
    }
    blends = dict.fromkeys(blend for runs in found.values() for blend in runs[0])
    rows = []
    for name, runs in found.items():
        row = {'': result['methods'][name]['label'], 'seeds': str(len(runs))}
        for blend in blends:
            row[blend] = None
            if blend in runs[0]:
                row[blend] = format_spread([run[blend] for run in runs])
                gains = [run[blend] - run[CLASSIFIER] for run in runs]
                if blend != CLASSIFIER:
                    row[blend] += f'; {format_differences(gains)}'
        rows.append(row)
    return table_of_rows(rows)


def format_methods(result: dict) -> str:
    """Write all about a suite except its plot.

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
        f'`python studies/compare_methods.py studies/suites/{result["name"]}.py`',
        ' to '.join(dict.fromkeys((dates[0], dates[-1]))),
        f'commits {", ".join(commits)}',
        *machines,
    ]
    embeddings = []
    if result.get('embeddings'):
        shots = ' and '.join(map(str, result['embeddings']['shots']))
        embeddings = [f'Embeddings, {shots} shots:', embedding_table(result)]
    neighbours = []
    if any('neighbours' in run for run in runs):
        neighbours = ['With neighbours, mAP:', neighbour_table(result)]
    return '\n\n'.join(
        [
            result['description'],
            method_table(result),
            *embeddings,
            *neighbours,
            '; '.join(notes) + '.',
        ]
    )


def draw_methods(result: dict, folder: Path) -> Path:
    """Draw the mAP of every run and its difference to the reference.

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
        left.plot(values, [row] * len(values), 'o', color=SEED_COLOUR, markersize=4)
        left.plot(mean(values), row, '|', color=MEAN_COLOUR, markersize=14, mew=2)
        deltas = differences(result, name, 'multi-label/mAP')
        if name == reference_of(result, name) or not deltas:
            continue
        centre, low, high = interval(deltas)
        right.plot(deltas, [row] * len(deltas), 'o', color=SEED_COLOUR, markersize=4)
        right.plot(centre, row, '|', color=MEAN_COLOUR, markersize=14, mew=2)
        if len(deltas) > 1:
            right.plot([low, high], [row, row], color=MEAN_COLOUR, linewidth=1)
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
