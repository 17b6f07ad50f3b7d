# SPDX-License-Identifier: Apache-2.0
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
# The training loop wants VOC2007 and takes long.
NAMES = sorted(
    path.stem
    for path in (ROOT / 'benchmarks').glob('bench_*.py')
    if path.stem != 'bench_training_loop'
)


@pytest.fixture
def run(load, settings, tmp_path, monkeypatch):
    """Function that runs a benchmark of tiny sizes, and gives what it writes.

    Without what takes processes of their own: memory, precision and layout of a
    training step, and the contrastive loss of several of them. This process goes on
    giving memory back.
    """
    train_step = load('bench_train_step')
    monkeypatch.setattr(train_step, 'keep_memory', lambda: None)
    monkeypatch.setattr(load('bench_neighbours'), 'keep_memory', lambda: None)
    monkeypatch.setattr(
        train_step,
        'measure_apart',
        lambda title, make, rivals, turns, repeats, tolerance: load('measure').measure(
            title, make, rivals, repeats, tolerance
        ),
    )
    monkeypatch.setattr(load('measure'), 'peak_memory', lambda *args: None)
    monkeypatch.setattr(
        load('bench_scaling'),
        'run_processes',
        lambda number, *args: dict(
            seconds=1 / number, value=torch.ones(1), gradient=torch.ones(number)[:1]
        ),
    )

    def run(name, *options):
        load(name).main(['--quick', '--out', str(tmp_path), *options])
        (path,) = tmp_path.glob('*.json')
        assert name == f'bench_{path.stem}'
        return json.loads(path.read_text())

    return run


def rivals(result):
    """For each comparison the names of the rivals, the base first."""
    for comparison in result['comparisons']:
        names = list(comparison['rivals'])
        assert comparison['base'] == names[0]
        yield names


def check(result, folder, printed):
    """What holds for all: a table, a file, and plots."""
    assert result['quick'] and 'tiny sizes: not a result' in printed
    assert result['environment']['versions']['torch'] == torch.__version__.split('+')[0]
    assert result['comparisons'] or result['curves']
    for comparison in result['comparisons']:
        assert comparison['title'] in printed
        for rival in comparison['rivals'].values():
            assert all(seconds > 0 for seconds in rival['seconds'])
            ratio = rival['ratio']
            assert 0 < ratio['low'] <= ratio['median'] <= ratio['high']
    for curve in result['curves']:
        assert curve['title'] in printed
        for points in curve['points'].values():
            sizes = [point['x'] for point in points]
            assert sizes == sorted(set(sizes)) and len(sizes) > 1
    expected = {f'{result["name"]}.json'}
    if result['comparisons']:
        expected.add(f'{result["name"]}.png')
    if result['curves']:
        expected.add(f'{result["name"]}_curves.png')
    assert {path.name for path in folder.iterdir()} == expected


def test_contrastive_loss(run, load, tmp_path, capsys):
    result = run('bench_contrastive_loss')
    check(result, tmp_path, capsys.readouterr().out)
    names = ['ours', 'plain masks']
    if load('bench_contrastive_loss').SupConLoss is not None:
        names.append('pytorch-metric-learning')
    assert list(rivals(result)) == [names]
    (comparison,) = result['comparisons']
    for rival in comparison['rivals'].values():
        assert rival['deviation']['value'] < 1e-5
        assert rival['deviation']['gradient'] < 1e-5


def test_another_loss_is_no_rival(run, load, monkeypatch):
    """A rival of other work stops the benchmark."""
    module = load('bench_contrastive_loss')
    plain = module.mask_form_loss
    monkeypatch.setattr(
        module, 'mask_form_loss', lambda z, labels, t: plain(z, labels, 1.01 * t)
    )
    with pytest.raises(ValueError, match="'plain masks' deviates from 'ours'"):
        run('bench_contrastive_loss')


def test_label_axis(run, tmp_path, capsys):
    result = run('bench_label_axis')
    check(result, tmp_path, capsys.readouterr().out)
    forms, necks = result['comparisons']
    assert forms['base'] == 'ours, float32'
    assert forms['rivals']['plain, float32']['deviation']['value'] < 1e-5
    assert forms['rivals']['plain, float32']['deviation']['gradient'] < 1e-4
    assert 0 < forms['rivals']['ours, bfloat16']['deviation']['gradient'] < 0.1
    assert list(necks['rivals']) == ['light neck', 'released neck']


def test_metric(run, tmp_path, capsys):
    result = run('bench_metric')
    check(result, tmp_path, capsys.readouterr().out)
    both = ['ours', 'MMPretrain', 'scikit-learn']
    assert list(rivals(result)) == [both, both, ['ours']]
    for comparison in result['comparisons'][:2]:
        for rival in comparison['rivals'].values():
            assert rival['deviation']['value'] < 1e-6


def test_annotations(run, load, tmp_path, capsys):
    """The same labels by all rivals, of a file of the right form."""
    result = run('bench_annotations')
    check(result, tmp_path, capsys.readouterr().out)
    names = ['ours', 'ours, warm cache', 'json.load']
    if load('bench_annotations').COCO is not None:
        names.append('pycocotools')
    assert list(rivals(result)) == [names]
    (comparison,) = result['comparisons']
    for rival in comparison['rivals'].values():
        assert rival['deviation'] == dict(value=0)
    assert comparison['unit'] == 'images' and comparison['items'] == 200


def test_another_reading_is_no_rival(run, load, monkeypatch):
    module = load('bench_annotations')
    read, classes = module.CocoMultiLabel, [f'thing {i}' for i in range(80)]
    monkeypatch.setattr(
        module,
        'CocoMultiLabel',
        lambda *args, **kwargs: read(*args, classes=classes[::-1], **kwargs),
    )
    with pytest.raises(ValueError, match="'json.load' deviates from 'ours'"):
        run('bench_annotations')


def test_pipeline(run, tmp_path, capsys):
    """Equal views, of made photographs and of given ones."""
    result = run('bench_pipeline')
    check(result, tmp_path, capsys.readouterr().out)
    assert list(rivals(result)) == [['ours', 'MMPretrain']] * 2
    for comparison in result['comparisons']:
        assert comparison['rivals']['MMPretrain']['deviation'] == dict(value=0)
        assert comparison['unit'] == 'images' and comparison['items'] == 4
    with pytest.raises(FileNotFoundError, match='no .*jpg'):
        run('bench_pipeline', '--data-root', str(tmp_path))


def test_stock_pipeline_has_nothing_of_ours(load, settings):
    """Its transforms are MMPretrain's and MMCV's."""
    module = load('bench_pipeline')

    def modules_of(steps):
        for step in steps:
            yield module.TRANSFORMS.get(step['type']).__module__.partition('.')[0]
            for view in step.get('transforms', []):
                yield from modules_of(view)
            yield from modules_of(step.get('policies', []))

    for dataset in module.CASES:
        config = module.Config.fromfile(module.DATASETS / f'{dataset}.py')
        found = list(modules_of(module.stock_pipeline(config)))
        assert set(found) == {'mmpretrain', 'mmcv'} and len(found) >= 5


def test_train_step(run, tmp_path, capsys):
    result = run('bench_train_step')
    check(result, tmp_path, capsys.readouterr().out)
    names = list(rivals(result))
    assert names[0] == names[2]
    assert names[0][:2] == ['step, released neck', 'part of neck, head and losses']
    assert {'step, CSRA head', 'step, linear head'} <= set(names[0])
    assert names[1][0] == names[3][0] == 'step, light neck'
    layouts = result['comparisons'][-1]
    assert layouts['base'] == 'float32, contiguous, plain'
    assert len(layouts['rivals']) == 5


def test_neighbours(run, tmp_path, capsys):
    result = run('bench_neighbours')
    check(result, tmp_path, capsys.readouterr().out)
    for names, table in zip(rivals(result), result['tables'], strict=True):
        assert names == ['tiny, 32 px', *(row[''] for row in table['rows'])]
        assert all('of the backbone' in row for row in table['rows'])


def test_made_memory_is_like_a_filled_one(load):
    """The same buffers, with votes for every label."""
    module = load('bench_neighbours')
    vectors, targets = torch.randn(200, 3, 8), (torch.rand(200, 3) < 0.5).float()
    # One entry of each label is left out.
    unknown = targets.scatter(0, torch.tensor([[0, 1, 2]]), -1)
    for options in (
        dict(dims=None),
        dict(dims=4),
        dict(dims=4, storage='int8'),
        dict(dims=4, prototypes=True),
        dict(dims=None, prototypes=True),
        dict(dims=4, share=199 / 200),
    ):
        sizes = dict(images=200, labels=3, width=8) | options
        made = module.make_memory(**sizes)
        prototypes = module.PROTOTYPES if options.pop('prototypes', False) else None
        given = unknown if options.pop('share', 0) else targets
        filled = module.LabelNeighbours(prototypes=prototypes, **options)
        filled.fill(vectors, given)
        for memory in (made, filled):
            named = memory.num_bytes - memory.names.numel()
            assert named == module.count_bytes(**sizes)
        for (name, a), b in zip(made.named_buffers(), filled.buffers()):
            assert a.dtype == b.dtype and a.ndim == b.ndim, name
            assert (a.numel() > 0) == (b.numel() > 0), name
        votes = made(torch.randn(2, 3, 8))
        assert not votes.present.isnan().any()


def test_memory_of_coco_size_fits(load):
    module = load('bench_neighbours')
    sizes, _ = module.SETTINGS['COCO 2014 train']
    # File names are the rest of at most 500 MB.
    assert module.count_bytes(**sizes) < 490e6


def test_scaling(run, tmp_path, capsys):
    result = run('bench_scaling')
    check(result, tmp_path, capsys.readouterr().out)
    assert [curve['x'] for curve in result['curves']] == ['B', 'B', 'P']
    assert result['curves'][2]['exponents']['ours']['seconds'] == pytest.approx(-1)


@pytest.mark.slow
def test_checked_runner(run, tmp_path, capsys):
    result = run('bench_checked_runner')
    check(result, tmp_path, capsys.readouterr().out)
    (comparison,) = result['comparisons']
    assert all(len(r['seconds']) == 2 for r in comparison['rivals'].values())
    costs, files = result['tables']
    assert [row[''] for row in costs['rows']][-1] == 'both'
    assert len(files['rows']) == 4


def test_processes_that_disagree(load, monkeypatch):
    module = load('bench_scaling')
    monkeypatch.setattr(
        module,
        'run_processes',
        lambda number, *args: dict(
            seconds=1, value=torch.ones(1), gradient=torch.tensor([1, 0.1 * number])
        ),
    )
    with pytest.raises(ValueError, match="'2 processes' deviates"):
        module.grow_processes((1, 2), 64, 1)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_command(name, tmp_path):
    """As a user calls it, with memory, and from another folder."""
    script = ROOT / 'benchmarks' / f'{name}.py'
    call = subprocess.run(
        [sys.executable, str(script), '--quick', '--out', 'there'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert call.returncode == 0, call.stderr
    result = json.loads((tmp_path / f'there/{script.stem[6:]}.json').read_text())
    assert result['environment']['command'] == (
        f'python benchmarks/{name}.py --quick --out there'
    )
    without_memory = ('pipeline', 'checked_runner', 'neighbours', 'search', 'inference')
    if not Path('/proc/self/clear_refs').exists() or name[6:] in without_memory:
        return
    peaks = re.findall(r'"peak": (\d+)', json.dumps(result))
    assert peaks and min(map(int, peaks)) > 100e6


def test_profile_table(load):
    """Milliseconds and shares of each rival, and their sum."""
    profiles = dict(
        before={'convolution': 300.0, 'other': 100.0},
        after={'convolution': 150.0, 'other': 50.0},
    )
    assert load('bench_training_loop').profile_table(profiles) == [
        {'': 'convolution', 'before': '300 ms (75 %)', 'after': '150 ms (75 %)'},
        {'': 'other', 'before': '100 ms (25 %)', 'after': '50 ms (25 %)'},
        {'': 'all operators', 'before': '400 ms', 'after': '200 ms'},
    ]


def test_search(run, tmp_path, capsys):
    result = run('bench_search')
    check(result, tmp_path, capsys.readouterr().out)
    names = ['ours', *(['faiss'] if find_spec('faiss') else [])]
    assert list(rivals(result)) == [names, names]
    for comparison in result['comparisons']:
        for rival in comparison['rivals'].values():
            assert rival['deviation']['photographs'] == 0


@pytest.mark.slow
def test_inference(run, tmp_path, capsys):
    result = run('bench_inference')
    check(result, tmp_path, capsys.readouterr().out)
    for names in rivals(result):
        assert names[:2] == ['eager', 'channels-last']
