# MulCon (arXiv 2107.11626), both steps, for two CPU cores.
# Data: your own photographs, with EfficientNet-Lite0 at 224 px. Copy this file and set
# what stands between the two lines (docs/own_data.md shows it step by step), then run
#     python tools/check_dataset.py configs/mlcl/YOURS.py
#     python tools/train.py configs/mlcl/YOURS.py
_base_ = ['../_base_/settings/efflite0_tabular.py', '../_base_/methods/mulcon.py']
_base_.update(_base_.pop('method'))  # merges the method in

# ---- set this ---------------------------------------------------------------------
# the number of labels
num_classes = 20
photos = dict(
    # the folder of the tables and of the folder of images
    data_root='data/photos/',
    data_prefix=dict(img_path='images'),
    # The names of the labels: a list, or the path of a file with one name per line.
    # None takes the columns of a table with one column per label.
    classes=None,
)
# as tools/convert_dataset.py labels.csv labels.csv --val 0.2 names them
train_table, val_table = 'labels_train.csv', 'labels_val.csv'
epochs_step1, epochs_step2 = 4, 2
# ---- leave this -------------------------------------------------------------------

train_dataloader = dict(dataset=dict(ann_file=train_table, **photos))
val_dataloader = dict(dataset=dict(ann_file=val_table, **photos))
test_dataloader = val_dataloader

model = dict(
    # the widths of mlcl_efflite0_voc07.py, for thousands of photographs
    neck=dict(
        num_classes=num_classes,
        in_channels=1280,
        embed_dims=512,
        num_blocks_before=0,
        num_blocks_after=0,
    ),
    head=dict(num_classes=num_classes, in_channels=512),
)

train_cfg = dict(max_epochs=epochs_step1)
steps = dict(
    step1=dict(train_cfg=dict(max_epochs=epochs_step1)),
    step2=dict(
        train_cfg=dict(max_epochs=epochs_step2),
        model=dict(head=dict(projector=dict(hidden_channels=512))),
    ),
)
# the ends of the cosines, and an average of the weights over a part of the training
_base_.param_scheduler[1].update(T_max=epochs_step1, end=epochs_step1)
_base_.steps.step2.param_scheduler[0].update(T_max=epochs_step2, end=epochs_step2)
_base_.custom_hooks[0].pop('momentum')
_base_.custom_hooks[0].update(type='AutoEMAHook')
