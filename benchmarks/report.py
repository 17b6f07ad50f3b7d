# SPDX-License-Identifier: Apache-2.0
"""Write the results of a benchmark as Markdown and as plots."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use('agg')
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mlcl_plugin.text_table import table_of_rows

# Colours that people with any colour vision can tell apart (Okabe and Ito).
COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00')


def format_result(result: dict) -> str:
    """Write all tables of a result, the machine and the command.

    Args:
        result (dict): The content of a file of results.

    Returns:
        str: Markdown.
    """
    parts = [result['description']]
    if result['comparisons']:
        parts.append(comparison_table(result['comparisons']))
    parts += further_tables(result)
    parts += [curve_table(curve) for curve in result['curves']]
    return '\n\n'.join([*parts, format_environment(result)])


def further_tables(result: dict) -> list[str]:
    """Write the tables of a result that are neither comparisons nor curves."""
    return [
        f'{table["title"]}\n\n{table_of_rows(table["rows"])}'
        for table in result.get('tables', ())
    ]


def format_environment(result: dict) -> str:
    """Write the command and the machine as one paragraph."""
    environment = result['environment']
    bfloat16 = ' and '.join(environment['bfloat16']) or 'no instructions'
    versions = ', '.join(f'{k} {v}' for k, v in environment['versions'].items())
    parts = [
        f'`{environment["command"]}`',
        f'{environment["date"]}, commit {environment["commit"]}',
        f'{environment["processor"]}, {environment["cores"]} cores, '
        f'{environment["threads"]} threads, {bfloat16} for bfloat16',
        versions,
    ]
    # Files of before there were GPUs have no field.
    if environment.get('device') is not None:
        parts.insert(2, environment['device'])
    if environment['load_before'] is not None:
        parts[1] += f', load average before {environment["load_before"]:.2f}'
    if result['quick']:
        parts.append('tiny sizes: not a result')
    return '; '.join(parts) + '.'


def comparison_table(comparisons: Sequence[dict]) -> str:
    """Write a row for every rival of every comparison.

    Args:
        comparisons (Sequence[dict]): Each with ``title``, ``base`` and ``rivals``.

    Returns:
        str: A Markdown table. Columns that no rival has an entry for are left out.
    """
    rows = []
    for comparison in comparisons:
        base = comparison['rivals'][comparison['base']]
        first = next(iter(comparison['rivals']))
        for name, rival in comparison['rivals'].items():
            time = median(rival['seconds'])
            ratio, memory = rival['ratio'], rival.get('memory')
            row = {
                '': comparison['title'] if name == first else '',
                'rival': name,
                'time': format_seconds(time),
                'time, relative': '1 (base)'
                if rival is base
                else f'{ratio["median"]:.3g} '
                f'({ratio["low"]:.3g} to {ratio["high"]:.3g})',
            }
            if 'items' in comparison:
                rate = comparison['items'] / time
                row[f'{comparison["unit"]}/s'] = f'{rate:.3g}'
            if memory:
                row['extra memory'] = format_bytes(memory['extra'])
                row['peak'] = format_bytes(memory['peak'])
                # Tiny sizes fit into memory that the process has already.
                if base['memory']['extra']:
                    relative = memory['extra'] / base['memory']['extra']
                    row['extra memory, relative'] = f'{relative:.3g}'
            for key, value in rival.get('deviation', {}).items():
                row[f'deviation of {key}'] = None if rival is base else f'{value:.1g}'
            rows.append(row)
    return table_of_rows(rows)


def curve_table(curve: dict) -> str:
    """Write a row for every point of every rival's curve, and the fitted exponents."""
    rows = []
    for name, series in curve['points'].items():
        for point in series:
            row = {'': name, curve['x']: f'{point["x"]:,}'}
            row['time'] = format_seconds(point['seconds'])
            if point.get('memory'):
                row['extra memory'] = format_bytes(point['memory']['extra'])
                row['peak'] = format_bytes(point['memory']['peak'])
            rows.append(row)
    fits = []
    for name, exponents in curve['exponents'].items():
        words = [
            f'{label} ~ {curve["x"]}^{exponents[key]:.2f}'
            for key, label in (('seconds', 'time'), ('extra', 'extra memory'))
            if exponents.get(key) is not None
        ]
        fits.append(f'{name}: {" and ".join(words)}' if words else name)
    title = f'{curve["title"]} ({curve["fixed"]})' if curve['fixed'] else curve['title']
    return f'{title}\n\n{table_of_rows(rows)}\n\nFitted: {"; ".join(fits)}.'


def format_seconds(seconds: float) -> str:
    """Write seconds to three digits, e.g. ``'1.23 ms'``."""
    return f'{seconds:.3g} s' if seconds >= 1 else f'{seconds * 1000:.3g} ms'


def format_bytes(number: float) -> str:
    """Write bytes in MB or GB (powers of ten)."""
    return f'{number / 1e9:.3g} GB' if number >= 1e9 else f'{number / 1e6:.3g} MB'


def draw(result: dict, folder: Path) -> list[Path]:
    """Draw the comparisons and the curves of a result.

    Args:
        result (dict): The content of a file of results.
        folder (Path): Where to put the pictures.

    Returns:
        list[Path]: The pictures, ``NAME.png`` if there are comparisons and
        ``NAME_curves.png`` if there are curves.
    """
    written = []
    for suffix, key, plot in (
        ('', 'comparisons', _draw_comparisons),
        ('_curves', 'curves', _draw_curves),
    ):
        if result[key]:
            figure = plot(result)
            path = folder / f'{result["name"]}{suffix}.png'
            # No version of matplotlib in the file: equal results make equal files.
            figure.savefig(path, dpi=120, metadata={'Software': None})
            plt.close(figure)
            written.append(path)
    return written


def _draw_comparisons(result: dict):
    """Draw bars of the time relative to the base, with the quartiles of the ratio."""
    comparisons = result['comparisons']
    sizes = [len(comparison['rivals']) for comparison in comparisons]
    figure, axes = plt.subplots(
        len(comparisons),
        figsize=(8, 0.8 + 0.34 * sum(sizes) + 0.75 * len(sizes)),
        height_ratios=[size + 0.5 for size in sizes],
        squeeze=False,
        layout='constrained',
    )
    figure.suptitle(result['title'])
    for axis, comparison in zip(axes.flat, comparisons):
        names = list(comparison['rivals'])
        ratios = [rival['ratio'] for rival in comparison['rivals'].values()]
        medians = [ratio['median'] for ratio in ratios]
        axis.barh(
            names,
            medians,
            color=[COLOURS[name != comparison['base']] for name in names],
            xerr=[
                [ratio['median'] - ratio['low'] for ratio in ratios],
                [ratio['high'] - ratio['median'] for ratio in ratios],
            ],
            error_kw=dict(elinewidth=1, capsize=3),
        )
        for index, (name, ratio) in enumerate(zip(names, ratios)):
            time = format_seconds(median(comparison['rivals'][name]['seconds']))
            axis.text(
                ratio['high'] + 0.02 * max(medians),
                index,
                f'{ratio["median"]:.3g}  ({time})',
                va='center',
                fontsize=8,
            )
        axis.axvline(1, color='grey', linewidth=0.8, linestyle=':')
        axis.set_xlim(0, 1.25 * max(ratio['high'] for ratio in ratios))
        axis.invert_yaxis()
        axis.set_title(comparison['title'], fontsize=9, loc='left')
        axis.tick_params(labelsize=8)
        axis.spines[['top', 'right']].set_visible(False)
    axes.flat[-1].set_xlabel(
        'time relative to the base (blue): median, quartiles', fontsize=9
    )
    return figure


def _draw_curves(result: dict):
    """Draw the time of every curve and, where measured, the extra memory."""
    curves = result['curves']
    figure, axes = plt.subplots(
        len(curves),
        2,
        figsize=(9, 0.5 + 3.4 * len(curves)),
        squeeze=False,
        layout='constrained',
    )
    figure.suptitle(result['title'])
    for row, curve in zip(axes, curves):
        costs = (
            (row[0], 'seconds', 'time (s)', lambda p: p['seconds']),
            (row[1], 'extra', 'extra memory (MB)', _megabytes),
        )
        for axis, key, label, cost in costs:
            _draw_curve(axis, curve, key, label, cost)
        row[0].set_title(curve['title'], fontsize=9, loc='left')
        row[1].set_title(curve['fixed'], fontsize=9, loc='left')
    return figure


def _megabytes(point: dict) -> float:
    extra = point['memory']['extra'] if point.get('memory') else 0
    # A logarithmic axis has no place for 0.
    return extra / 1e6 or math.nan


def _draw_curve(axis, curve: dict, key: str, label: str, cost) -> None:
    for index, (name, series) in enumerate(curve['points'].items()):
        fit = curve['exponents'][name].get(key)
        costs = [cost(point) for point in series]
        if all(map(math.isnan, costs)):
            continue
        axis.plot(
            [point['x'] for point in series],
            costs,
            marker='o',
            markersize=4,
            color=COLOURS[index % len(COLOURS)],
            label=name if fit is None else f'{name}: ~ ${curve["x"]}^{{{fit:.2f}}}$',
        )
    if not axis.lines:
        axis.set_axis_off()
        return
    axis.set_xscale('log')
    axis.set_yscale('log')
    ticks = sorted({p['x'] for series in curve['points'].values() for p in series})
    axis.set_xticks(ticks, labels=[f'{tick:,}' for tick in ticks], rotation=30)
    axis.xaxis.set_minor_formatter(NullFormatter())
    plain = FuncFormatter(lambda value, _: f'{value:.3g}')
    low, high = axis.get_ylim()
    axis.yaxis.set_major_formatter(plain)
    if high < 100 * low:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_formatter(plain if high < 5 * low else NullFormatter())
    axis.set_xlabel(curve['x_label'], fontsize=9)
    axis.set_ylabel(label, fontsize=9)
    axis.tick_params(which='both', labelsize=8)
    axis.grid(which='major', linewidth=0.4)
    axis.legend(fontsize=8)
